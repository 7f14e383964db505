use http::{HeaderMap, HeaderName, HeaderValue};
use tower_ops_observe::{RequestFacts, TraceIds};

use crate::trace_state::TraceState;

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flags that version 00 defines. All others are set to zero before they go on.
const KNOWN_FLAGS: u8 = TraceIds::SAMPLED | TraceIds::RANDOM;

/// The place of a span in a distributed trace, as it goes from service to service in the headers
/// `traceparent` and `tracestate`: [W3C Trace Context], level 2.
///
/// What is malformed is dropped as a whole, and never repaired: one wrong digit in `traceparent`
/// and there is no context, one wrong member in `tracestate` and there is none.
///
/// [W3C Trace Context]: https://www.w3.org/TR/trace-context-2/
///
/// # Examples
///
/// ```
/// use http::HeaderMap;
/// use tower_ops_trace::TraceContext;
///
/// let mut headers = HeaderMap::new();
/// let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// headers.insert("traceparent", traceparent.parse().unwrap());
/// headers.insert("tracestate", "vendor=opaque".parse().unwrap());
///
/// let context = TraceContext::extract(&headers).unwrap();
/// assert!(context.ids().is_sampled());
/// assert_eq!(context.state().unwrap().get("vendor"), Some("opaque"));
///
/// let mut outgoing = HeaderMap::new();
/// context.inject(&mut outgoing);
/// assert_eq!(outgoing, headers);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    ids: TraceIds,
    state: Option<TraceState>,
}

impl TraceContext {
    /// Makes a context of its parts.
    #[must_use]
    pub const fn new(ids: TraceIds, state: Option<TraceState>) -> Self {
        Self { ids, state }
    }

    /// Reads the context out of the headers of a request; `None` if there is no valid
    /// `traceparent`, or more than one. `tracestate` does not count without it.
    ///
    /// Costs a look-up where there is none, and does not allocate where there is one `tracestate`
    /// at most.
    #[must_use]
    #[inline]
    pub fn extract(headers: &HeaderMap) -> Option<Self> {
        let value = find(headers)?;
        Self::read(value, headers)
    }

    /// Apart, so that requests without a context do not pay for the room of one.
    #[inline(never)]
    fn read(parent: &HeaderValue, headers: &HeaderMap) -> Option<Self> {
        if headers.get_all(&TRACEPARENT).iter().nth(1).is_some() {
            return None;
        }
        let ids = parse_traceparent(parent.as_bytes())?;
        let state = TraceState::extract(headers);
        Some(Self { ids, state })
    }

    /// Returns the context of the exchange that is being served right now on this thread: what a
    /// request that is sent from there has to carry. `None` outside of any.
    ///
    /// For clients that are no tower services. They call [`inject`](Self::inject) with it.
    #[must_use]
    pub fn current() -> Option<Self> {
        let ids = RequestFacts::current_trace_ids().filter(|ids| ids.span_id() != 0)?;
        let facts = RequestFacts::current()?;
        let state = facts.trace_state().cloned().map(TraceState::trusted);
        Some(Self { ids, state })
    }

    /// Writes the context into the headers of a request, in place of one that is there. Allocates
    /// the text of `traceparent`.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let state = self.state.as_ref().map(|state| state.as_header_value());
        inject(self.ids, state, headers);
    }

    /// Returns the ids of the span.
    #[must_use]
    pub const fn ids(&self) -> TraceIds {
        self.ids
    }

    /// Returns what other vendors have to say about the trace.
    #[must_use]
    pub const fn state(&self) -> Option<&TraceState> {
        self.state.as_ref()
    }
}

/// Looks through a few headers, which costs less than to hash the name.
#[inline]
fn find(headers: &HeaderMap) -> Option<&HeaderValue> {
    const FEW: usize = 16;
    if headers.keys_len() > FEW || headers.keys().any(|name| *name == TRACEPARENT) {
        return headers.get(&TRACEPARENT);
    }
    None
}

pub(crate) fn inject(ids: TraceIds, state: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    text[3..35].copy_from_slice(ids.trace_id_hex().as_bytes());
    text[36..52].copy_from_slice(ids.span_id_hex().as_bytes());
    let flags = ids.with_flags(ids.flags() & KNOWN_FLAGS).flags_hex();
    text[53..].copy_from_slice(flags.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(TRACEPARENT, value);
    }
    match state {
        Some(state) => {
            headers.insert(TRACESTATE, state.clone());
        }
        None => {
            headers.remove(TRACESTATE);
        }
    }
}

/// Reads a `traceparent`: 55 bytes at fixed places, lower-case hexadecimal digits, ids that are not
/// zero. A version above 00 may have more after a hyphen; ff is none.
///
/// Flags that this version does not define are dropped: they must not go on.
#[must_use]
pub fn parse_traceparent(text: &[u8]) -> Option<TraceIds> {
    let (text, more) = text.split_first_chunk::<55>()?;
    let [version] = bytes(&text[..2])?;
    let ids: [u8; 16] = bytes(&text[3..35])?;
    let span: [u8; 8] = bytes(&text[36..52])?;
    let [flags] = bytes(&text[53..])?;
    let hyphens = [text[2], text[35], text[52]] == *b"---";
    let fits = more.is_empty() || (version > 0 && more[0] == b'-');
    let span = u64::from_be_bytes(span);
    if !hyphens || version == 0xff || !fits || span == 0 {
        return None;
    }
    TraceIds::new(u128::from_be_bytes(ids), span, flags & KNOWN_FLAGS)
}

/// `N` bytes out of twice as many lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = (high << 4) | (low & 0xf);
    }
    (wrong < 0x10).then_some(bytes)
}

/// What each byte is worth as a digit; 0x10 for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0x10; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1..=u128::MAX, span in 1..=u64::MAX, flags in 0..4_u8) {
            let ids = TraceIds::new(trace, span, flags).unwrap();
            let mut headers = HeaderMap::new();
            inject(ids, None, &mut headers);
            prop_assert_eq!(headers["traceparent"].to_str().unwrap(), ids.to_string());
            prop_assert_eq!(TraceContext::extract(&headers).unwrap().ids(), ids);
        }

        #[test]
        fn one_wrong_byte_and_there_is_none(at in 0..55_usize, byte in any::<u8>()) {
            let right = *b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let mut text = right;
            text[at] = byte;
            let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let is_right = byte == right[at] || (is_digit && right[at] != b'-' && &text[..2] != b"ff");
            prop_assert_eq!(parse_traceparent(&text).is_some(), is_right);
        }

        #[test]
        fn any_bytes_do_no_harm(text in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _ = parse_traceparent(&text);
        }
    }
}
