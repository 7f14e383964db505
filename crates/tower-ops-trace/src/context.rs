use http::{HeaderMap, HeaderName, HeaderValue};
use tower_ops_observe::{RequestFacts, TraceIds};

use crate::scope::TraceScoped;
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
        // Apart, so that requests without a context do not pay for the room of one.
        may_have(headers, &TRACEPARENT)
            .then(|| Self::read(headers))
            .flatten()
    }

    #[inline(never)]
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let ids = parse_traceparent(value.as_bytes())?;
        let state = TraceState::extract(headers);
        Some(Self { ids, state })
    }

    pub(crate) fn into_parts(self) -> (TraceIds, Option<HeaderValue>) {
        (self.ids, self.state.map(TraceState::into_header_value))
    }

    /// Returns the context of the exchange that is being served right now on this thread, or of the
    /// [scope](Self::scope) around: what a request that is sent from there has to carry. `None`
    /// outside of any.
    ///
    /// For clients that are no tower services. They call [`inject`](Self::inject) with it.
    #[must_use]
    pub fn current() -> Option<Self> {
        let ids = RequestFacts::current_trace_ids().filter(|ids| ids.span_id() != 0)?;
        let state = RequestFacts::current_trace_state().map(TraceState::trusted);
        Some(Self { ids, state })
    }

    /// Makes a future in which the context is the current one: for a task that is spawned, which is
    /// no part of the exchange.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use tower_ops_trace::{TraceContext, TraceIds};
    ///
    /// # let ids = TraceIds::new(7, 8, TraceIds::SAMPLED).expect("not 0");
    /// # TraceContext::new(ids, None).scope(async {
    /// // In a handler:
    /// if let Some(context) = TraceContext::current() {
    ///     tokio::spawn(context.scope(async {
    ///         // What is sent from here is of the same trace.
    ///         assert!(TraceContext::current().is_some());
    ///     }));
    /// }
    /// # }).await;
    /// # }
    /// ```
    pub fn scope<F>(self, future: F) -> TraceScoped<F> {
        TraceScoped::new(self, future)
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

/// Whether a search is worth it: a few headers are looked through, which costs less than to hash the
/// name.
#[inline]
pub(crate) fn may_have(headers: &HeaderMap, name: &HeaderName) -> bool {
    const FEW: usize = 16;
    headers.keys_len() > FEW || headers.keys().any(|own| own == name)
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
    let ends = number([b'0', b'0', b'0', b'0', text[0], text[1], text[53], text[54]])?;
    let [_, _, version, flags] = ends.to_be_bytes();
    let mut trace = 0;
    for eight in text[3..35].as_chunks().0 {
        trace = (trace << 32) | u128::from(number(*eight)?);
    }
    let mut span = 0;
    for eight in text[36..52].as_chunks().0 {
        span = (span << 32) | u64::from(number(*eight)?);
    }
    let hyphens = [text[2], text[35], text[52]] == *b"---";
    let fits = more.is_empty() || (version > 0 && more[0] == b'-');
    if !hyphens || version == 0xff || !fits || span == 0 {
        return None;
    }
    TraceIds::new(trace, span, flags & KNOWN_FLAGS)
}

/// The number that eight lower-case hexadecimal digits are, all eight at once.
#[inline]
fn number(digits: [u8; 8]) -> Option<u32> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_be_bytes(digits);
    // 1 in the byte of a letter, which is 0x61 to 0x66; a digit is 0x30 to 0x39.
    let letter = (text >> 6) & EACH;
    // 0 to 15 in each byte, if the byte is a digit; no byte overflows whatever it was.
    let value = (text & (0x0f * EACH)) + 9 * letter;
    let in_row = text & (0xf0 * EACH) == 0x30 * EACH + 0x30 * letter;
    let is_nibble = value & (0x10 * EACH) == 0;
    let is_ten_or_more = ((value + 6 * EACH) >> 4) & EACH;
    if !in_row || !is_nibble || is_ten_or_more != letter {
        return None;
    }
    let pairs = (value | (value >> 4)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    let eight = (fours | (fours >> 16)) & 0xffff_ffff;
    u32::try_from(eight).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digit_by_digit(text: [u8; 8]) -> Option<u32> {
        text.iter().try_fold(0, |number, byte| {
            let digit = b"0123456789abcdef".iter().position(|own| own == byte)?;
            Some((number << 4) | u32::try_from(digit).ok()?)
        })
    }

    #[test]
    fn every_byte_at_every_place_is_a_digit_or_none() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                for other in *b"09af" {
                    let mut text = [other; 8];
                    text[at] = byte;
                    assert_eq!(number(text), digit_by_digit(text), "{text:?}");
                }
            }
        }
    }

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
        fn eight_digits_are_a_number(text in proptest::array::uniform8(any::<u8>())) {
            prop_assert_eq!(number(text), digit_by_digit(text));
        }

        #[test]
        fn any_bytes_do_no_harm(text in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _ = parse_traceparent(&text);
        }
    }
}
