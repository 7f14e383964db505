//! Reading `Accept`, and the lists of codings.

use http::HeaderMap;
use http::header::{ACCEPT, HeaderName};

/// The media ranges of a request (RFC 9110, section 12.5.1), with their weights in thousandths.
///
/// Lenient: what cannot be read is skipped, since a probe that answers 406 or 400 takes a healthy
/// process down. A weight of 0 means "not this one".
///
/// # Examples
///
/// ```
/// use http::HeaderMap;
/// use http::header::ACCEPT;
/// use tower_ops_core::http::Accept;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(ACCEPT, "text/*;q=0.5, application/json;q=0, */*;q=0.1".parse().unwrap());
/// let accept = Accept::from_headers(&headers);
/// assert_eq!(accept.weight("text/plain"), Some(500));
/// assert_eq!(accept.weight("application/json"), Some(0));
/// assert_eq!(accept.weight("image/png"), Some(100));
/// ```
#[derive(Debug, Default)]
pub struct Accept<'a> {
    ranges: Vec<(&'a str, u16)>,
}

impl<'a> Accept<'a> {
    /// Reads all `Accept` headers.
    #[must_use]
    pub fn from_headers(headers: &'a HeaderMap) -> Self {
        Self::of(headers, ACCEPT)
    }

    /// Reads all headers of that name, such as `Accept-Encoding`, whose codings take the place of
    /// the media types.
    #[must_use]
    pub fn of(headers: &'a HeaderMap, name: HeaderName) -> Self {
        let values = headers.get_all(name).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| split(value, ',')).filter_map(range);
        Self {
            ranges: ranges.collect(),
        }
    }

    /// Returns the weight of a media type, such as `application/json`: that of the closest range,
    /// and of the greatest weight among equally close ones. `None` if no range has it.
    #[must_use]
    pub fn weight(&self, media: &str) -> Option<u16> {
        let family = media.split('/').next().unwrap_or_default();
        let closeness = |range: &str| {
            if range.eq_ignore_ascii_case(media) {
                Some(2)
            } else if range == "*/*" {
                Some(0)
            } else {
                let (kind, rest) = range.split_once('/')?;
                (rest == "*" && kind.eq_ignore_ascii_case(family)).then_some(1)
            }
        };
        let ranges = self.ranges.iter();
        let close = ranges.filter_map(|(range, weight)| Some((closeness(range)?, *weight)));
        close.max().map(|(_, weight)| weight)
    }

    /// Returns the weight with which the media type is given by its name, and 0 if it is not.
    #[must_use]
    pub fn named(&self, media: &str) -> u16 {
        let ranges = self.ranges.iter();
        let named = ranges.filter(|(range, _)| range.eq_ignore_ascii_case(media));
        named.map(|(_, weight)| *weight).max().unwrap_or(0)
    }
}

/// Returns the codings of `Content-Encoding`, in their order and in lower case, without
/// `identity`, and with `x-gzip` as `gzip` (RFC 9110, section 8.4.1.3).
#[must_use]
pub fn codings(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    // What is no text is no coding that anybody knows.
    let values = values.map(|value| value.to_str().unwrap_or("?"));
    let codings = values.flat_map(|value| value.split(','));
    let codings = codings.map(|coding| coding.trim().to_ascii_lowercase());
    let codings = codings.map(|coding| match &*coding {
        "x-gzip" => "gzip".to_owned(),
        _ => coding,
    });
    codings
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect()
}

/// Splits at the separators that are not within a quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == '"' {
            quoted = !quoted;
        }
        character == separator && !quoted
    })
}

/// Splits `text/plain; charset=utf-8; q=0.5` into the media range and its weight.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = split(text, ';').map(str::trim);
    let media = parts.next().filter(|media| !media.is_empty())?;
    let weight = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    match weight {
        Some((_, weight)) => Some((media, thousandths(weight.trim())?)),
        None => Some((media, 1000)),
    }
}

/// Reads a weight as thousandths: `1`, `0.25`, and `.2` as old clients send it.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction
        .bytes()
        .zip([100, 10, 1])
        .map(|(digit, unit)| u16::from(digit - b'0') * unit)
        .sum();
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("", _) if !fraction.is_empty() => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_ENCODING, HeaderValue};

    use super::*;

    fn with(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (name.clone(), value)
        });
        let mut headers = HeaderMap::new();
        values.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn the_closest_range_decides_and_a_zero_is_a_refusal() {
        for (accept, weight) in [
            (&["application/json"][..], Some(1000)),
            (&["APPLICATION/JSON;Q=0.5"], Some(500)),
            (&["*/*, application/json;q=0"], Some(0)),
            (&["application/*;q=0.3", "*/*"], Some(300)),
            (&["text/plain"], None),
            (&[r#"text/plain;x="a,application/json""#], None),
            (&[r#"text/plain;x="\",application/json;q=0.7""#], None),
            (&["application/json;q=2, application/json;q=.2"], Some(200)),
            (&["", ",", ";q=1", "приём"], None),
            (&["application/json; charset=utf-8; q=0.123"], Some(123)),
            (&["application/json;q=0.1234"], None),
        ] {
            let headers = with(&ACCEPT, accept);
            let accept = Accept::from_headers(&headers);
            assert_eq!(accept.weight("application/json"), weight, "{accept:?}");
        }
    }

    #[test]
    fn codings_are_a_list_in_any_case() {
        for (value, expected) in [
            (&["gzip"][..], "gzip"),
            (&["GZIP"], "gzip"),
            (&["X-Gzip, identity"], "gzip"),
            (&["Identity"], ""),
            (&["gzip, gzip"], "gzip+gzip"),
            (&["br", "gzip"], "br+gzip"),
            (&[], ""),
        ] {
            let codings = codings(&with(&CONTENT_ENCODING, value), CONTENT_ENCODING);
            assert_eq!(codings.join("+"), expected, "{value:?}");
        }
    }
}
