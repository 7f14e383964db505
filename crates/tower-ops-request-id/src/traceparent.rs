use http::HeaderMap;

use crate::id::RequestId;

/// The trace id of a `traceparent`, as a request id and as a number.
pub(crate) fn from_traceparent(headers: &HeaderMap) -> Option<(RequestId, u128)> {
    let mut values = headers.get_all("traceparent").iter();
    let (Some(text), None) = (values.next(), values.next()) else {
        return None; // missing, or there more than once, which is invalid
    };
    let text = text.as_bytes();
    // version "-" trace-id "-" parent-id "-" flags; later versions may add more.
    let (version, rest) = text.split_at_checked(2)?;
    let id: [u8; 32] = *rest.strip_prefix(b"-")?.first_chunk()?;
    let parent = rest.get(33..50)?;
    let flags = rest.get(50..53)?;
    let after = &rest[53..];
    let well_formed = is_hex(version)
        && version != b"ff"
        && is_hex(&id)
        && parent[0] == b'-'
        && is_hex(&parent[1..])
        && parent[1..].iter().any(|digit| *digit != b'0')
        && flags[0] == b'-'
        && is_hex(&flags[1..])
        && (after.is_empty() || (version != b"00" && after[0] == b'-'));
    if !well_formed {
        return None;
    }
    let number = u128::from_str_radix(std::str::from_utf8(&id).ok()?, 16).ok()?;
    (number != 0).then_some((RequestId::copy(&id)?, number))
}

fn is_hex(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn reads_traceparent() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (text, valid) in [
            (format!("00-{trace}-00f067aa0ba902b7-01"), true),
            (format!("cc-{trace}-00f067aa0ba902b7-01-more"), true),
            (format!("00-{trace}-00f067aa0ba902b7-01-more"), false),
            (format!("ff-{trace}-00f067aa0ba902b7-01"), false),
            (format!("00-{trace}-0000000000000000-01"), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (
                format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
                false,
            ),
            (format!("00-{trace}-00f067aa0ba902b7-0"), false),
            (format!("00-{trace}"), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_str(&text).unwrap());
            let found = from_traceparent(&headers);
            assert_eq!(found.is_some(), valid, "{text}");
            if let Some((id, number)) = found {
                assert_eq!(id.as_str(), trace);
                assert_eq!(format!("{number:032x}"), trace);
            }
        }
    }
}
