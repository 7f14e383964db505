use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::context::{TRACESTATE, may_have};

/// The most members that a list may have; one more makes it invalid.
const MOST_MEMBERS: usize = 32;
/// What goes on of a longer list: as many bytes as everybody has to carry.
const MOST_BYTES: usize = 512;
/// Members that are longer go first when a list is cut.
const LONG_MEMBER: usize = 128;
const LONGEST_KEY: usize = 256;
const LONGEST_VALUE: usize = 256;

/// What vendors keep about a trace: the members of `tracestate`, in their order.
///
/// Valid by construction: at most 32 members, with keys and values by the grammar of level 2. It
/// goes on as it came. More than 512 bytes are cut as the specification has it: whole members of
/// more than 128 bytes first, then from the end. Keys that are there twice stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceState(HeaderValue);

impl TraceState {
    /// Reads the header `tracestate`, or several of them as one list; `None` if there is none, or
    /// if anything in it is malformed.
    #[must_use]
    pub fn extract(headers: &HeaderMap) -> Option<Self> {
        if !may_have(headers, &TRACESTATE) {
            return None;
        }
        let mut values = headers.get_all(&TRACESTATE).iter();
        let first = values.next()?;
        let Some(second) = values.next() else {
            return Self::parse(first);
        };
        let mut list = first.as_bytes().to_vec();
        for value in std::iter::once(second).chain(values) {
            list.push(b',');
            list.extend_from_slice(value.as_bytes());
        }
        Self::parse(&HeaderValue::from_maybe_shared(Bytes::from(list)).ok()?)
    }

    /// Reads a list; `None` if it is empty or malformed.
    #[must_use]
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let mut count = 0;
        for member in members(text) {
            count += 1;
            let (key, value) = member.split_once('=')?;
            if count > MOST_MEMBERS || !is_key(key.as_bytes()) || !is_value(value.as_bytes()) {
                return None;
            }
        }
        if count == 0 {
            return None;
        }
        if text.len() <= MOST_BYTES {
            return Some(Self(value.clone()));
        }
        shortened(text)
    }

    /// For a list that was read by [`parse`](Self::parse) before.
    pub(crate) const fn trusted(value: HeaderValue) -> Self {
        Self(value)
    }

    pub(crate) fn into_header_value(self) -> HeaderValue {
        self.0
    }

    /// Returns the list, as it goes into the header.
    #[must_use]
    pub const fn as_header_value(&self) -> &HeaderValue {
        &self.0
    }

    /// Returns the list as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Returns the value of the first member with that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == key).map(|(_, it)| it)
    }

    /// Goes through the keys and the values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        members(self.as_str()).filter_map(|member| member.split_once('='))
    }
}

/// The members without the blanks around them. Empty ones are allowed, and are none.
fn members(text: &str) -> impl Iterator<Item = &str> {
    let trimmed = text
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']));
    trimmed.filter(|member| !member.is_empty())
}

fn shortened(text: &str) -> Option<TraceState> {
    let mut kept: Vec<&str> = members(text).collect();
    let length = |kept: &[&str]| {
        let commas = kept.len().saturating_sub(1);
        kept.iter().map(|member| member.len()).sum::<usize>() + commas
    };
    while length(&kept) > MOST_BYTES {
        let long = kept.iter().rposition(|member| member.len() > LONG_MEMBER);
        kept.remove(long.unwrap_or(kept.len() - 1));
    }
    let value = HeaderValue::from_str(&kept.join(",")).ok()?;
    (!value.is_empty()).then_some(TraceState(value))
}

fn is_key(key: &[u8]) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_next = |byte: &u8| is_first(byte) || b"_-*/@".contains(byte);
    key.len() <= LONGEST_KEY && key.first().is_some_and(is_first) && key.iter().all(is_next)
}

/// Blanks are allowed within; at the end they were trimmed.
fn is_value(value: &[u8]) -> bool {
    let is_allowed = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b',' && *byte != b'=';
    (1..=LONGEST_VALUE).contains(&value.len()) && value.iter().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_on_is_valid_and_bounded(
            lists in proptest::collection::vec("[a-zA-B0-9@*=, \t~]{0,300}", 0..5),
        ) {
            let mut headers = HeaderMap::new();
            for list in &lists {
                headers.append(TRACESTATE, HeaderValue::from_str(list).unwrap());
            }
            if let Some(state) = TraceState::extract(&headers) {
                prop_assert!(state.as_str().len() <= MOST_BYTES);
                prop_assert!((1..=MOST_MEMBERS).contains(&state.iter().count()));
                prop_assert_eq!(TraceState::parse(state.as_header_value()), Some(state.clone()));
                for (key, _) in state.iter() {
                    prop_assert!(lists.iter().any(|list| list.contains(key)));
                }
            }
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = TraceState::parse(&value);
            }
        }
    }

    fn parse(text: &str) -> Option<TraceState> {
        TraceState::parse(&HeaderValue::from_str(text).unwrap())
    }

    #[test]
    fn a_long_list_loses_long_members_first_and_then_the_last() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<String> = (0..30)
            .map(|i| format!("k{i}={}", "y".repeat(16)))
            .collect();
        let short = short.join(",");
        let list = parse(&format!("{long},{short}")).unwrap();
        assert!(list.as_str().len() <= 512, "{}", list.as_str().len());
        assert_eq!(list.get("long"), None);
        assert_eq!(list.iter().next(), Some(("k0", "yyyyyyyyyyyyyyyy")));
        assert!(short.starts_with(list.as_str()));

        let list = parse(&format!("{long},a=1,also_{long},b=2,more_{long}")).unwrap();
        assert_eq!(
            list.as_str(),
            format!("{long},a=1,also_{long},b=2"),
            "no more than needed"
        );
    }

    #[test]
    fn a_list_of_nothing_is_none() {
        for text in [
            "", ",", " , \t,", "a", "a=", "=1", "a=1,b", "A=1", "a=\u{7f}",
        ] {
            assert_eq!(
                HeaderValue::from_bytes(text.as_bytes())
                    .ok()
                    .and_then(|it| TraceState::parse(&it)),
                None,
                "{text:?}"
            );
        }
        assert_eq!(parse(",a=1,,").unwrap().iter().count(), 1);
    }

    #[test]
    fn a_value_has_256_bytes_at_most() {
        assert!(parse(&format!("a={}", "x".repeat(256))).is_some());
        assert!(parse(&format!("a={}", "x".repeat(257))).is_none());
    }
}
