use std::fmt;
use std::num::NonZeroU128;

use http::HeaderValue;

use crate::current::{CurrentSlot, swap, with};

/// The ids by which an exchange is found in a trace, as in the [W3C trace context].
///
/// 32 bytes, and copied. The trace id is never zero. The span is that of the exchange itself, not
/// that of its caller.
///
/// [W3C trace context]: https://www.w3.org/TR/trace-context-2/
///
/// # Examples
///
/// ```
/// use tower_ops_observe::TraceIds;
///
/// let ids = TraceIds::new(0x4bf9_2f35, 0xf067, TraceIds::SAMPLED).expect("the trace id is not 0");
/// assert!(ids.is_sampled());
/// assert_eq!(ids.trace_id_hex().as_str(), "0000000000000000000000004bf92f35");
/// assert_eq!(ids.to_string(), "00-0000000000000000000000004bf92f35-000000000000f067-01");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceIds {
    trace_id: NonZeroU128,
    span_id: u64,
    flags: u8,
}

impl TraceIds {
    /// The flag of a trace that is recorded.
    pub const SAMPLED: u8 = 0x01;
    /// The flag of a trace id whose last 56 bits are random (level 2).
    pub const RANDOM: u8 = 0x02;

    /// Makes ids of their parts; `None` if the trace id is zero.
    ///
    /// A span id of 0 is for who knows the trace, but no span of its own in it.
    #[must_use]
    pub const fn new(trace_id: u128, span_id: u64, flags: u8) -> Option<Self> {
        match NonZeroU128::new(trace_id) {
            Some(trace_id) => Some(Self {
                trace_id,
                span_id,
                flags,
            }),
            None => None,
        }
    }

    /// Returns the trace id.
    #[must_use]
    pub const fn trace_id(self) -> u128 {
        self.trace_id.get()
    }

    /// Returns the id of the exchange's span; 0 if only the trace is known.
    #[must_use]
    pub const fn span_id(self) -> u64 {
        self.span_id
    }

    /// Returns the trace flags.
    #[must_use]
    pub const fn flags(self) -> u8 {
        self.flags
    }

    /// Returns whether the trace is recorded: the sampling decision.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// Returns whether the last 56 bits of the trace id are known to be random.
    #[must_use]
    pub const fn is_random(self) -> bool {
        self.flags & Self::RANDOM != 0
    }

    /// Returns the ids of another span in the same trace, with the same flags.
    #[must_use]
    pub const fn with_span_id(self, span_id: u64) -> Self {
        Self { span_id, ..self }
    }

    /// Returns the same ids with other flags.
    #[must_use]
    pub const fn with_flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// Returns the trace id as 32 lower-case hexadecimal digits. Does not allocate.
    #[must_use]
    pub fn trace_id_hex(self) -> Hex<32> {
        Hex::of(self.trace_id.get())
    }

    /// Returns the span id as 16 lower-case hexadecimal digits. Does not allocate.
    #[must_use]
    pub fn span_id_hex(self) -> Hex<16> {
        Hex::of(u128::from(self.span_id))
    }

    /// Returns the flags as 2 lower-case hexadecimal digits. Does not allocate.
    #[must_use]
    pub fn flags_hex(self) -> Hex<2> {
        Hex::of(u128::from(self.flags))
    }
}

/// Writes a `traceparent` of version 00.
impl fmt::Display for TraceIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span, flags) = (self.trace_id_hex(), self.span_id_hex(), self.flags_hex());
        write!(f, "00-{trace}-{span}-{flags}")
    }
}

/// `N` lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex<const N: usize>([u8; N]);

impl<const N: usize> Hex<N> {
    #[inline]
    fn of(number: u128) -> Self {
        let mut all = [0; 32];
        for (at, eight) in all.chunks_exact_mut(8).enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "32 bits each")]
            let part = (number >> (96 - 32 * at)) as u32;
            eight.copy_from_slice(&eight_digits(part));
        }
        let mut digits = [0; N];
        digits.copy_from_slice(&all[32 - N..]);
        Self(digits)
    }

    /// Returns the digits as ASCII.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Returns the digits of a number, all eight computed at once.
const fn eight_digits(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    let spread = number as u64;
    let spread = ((spread << 16) | spread) & 0x0000_ffff_0000_ffff;
    let spread = ((spread << 8) | spread) & 0x00ff_00ff_00ff_00ff;
    let nibbles = ((spread << 4) | spread) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((nibbles + 6 * ONES) >> 4) & ONES;
    (nibbles + b'0' as u64 * ONES + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A trace that is the current one while a future of another task is polled.
///
/// Changes the trace alone: the other facts stay those of the exchange around it, if there is one.
///
/// # Examples
///
/// ```
/// use tower_ops_observe::{RequestFacts, TraceIds, TraceScope};
///
/// let ids = TraceIds::new(0x4bf9_2f35, 0xf067, TraceIds::SAMPLED);
/// let mut scope = TraceScope::new(ids, None);
/// assert_eq!(scope.enter(RequestFacts::current_trace_ids), ids);
/// assert_eq!(RequestFacts::current_trace_ids(), None);
/// ```
#[derive(Debug)]
pub struct TraceScope {
    ids: Option<TraceIds>,
    state: Option<Box<HeaderValue>>,
    /// For where no exchange is current. Kept from poll to poll.
    spare: CurrentSlot,
}

impl TraceScope {
    /// Makes a scope in which those ids are the current ones, or none are. The `tracestate` goes
    /// with them.
    #[must_use]
    pub fn new(ids: Option<TraceIds>, state: Option<HeaderValue>) -> Self {
        Self {
            ids,
            state: state.map(Box::new),
            spare: None,
        }
    }

    /// Calls with the trace as the current one. Allocates at the first call outside of an exchange.
    pub fn enter<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let is_alone = with(|_| ()).is_none();
        if is_alone {
            self.spare.get_or_insert_default();
            swap(&mut self.spare);
        }
        self.exchange();
        let _left = Left {
            scope: self,
            is_alone,
        };
        step()
    }

    fn exchange(&mut self) {
        with(|current| {
            std::mem::swap(&mut current.facts.trace_ids, &mut self.ids);
            std::mem::swap(&mut current.facts.trace_state, &mut self.state);
        });
    }
}

/// Leaves a scope, also when the step in it unwinds.
struct Left<'a> {
    scope: &'a mut TraceScope,
    is_alone: bool,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.scope.exchange();
        if self.is_alone {
            swap(&mut self.scope.spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{TraceIds, TraceScope};
    use crate::current::RequestFacts;

    #[test]
    fn scopes_nest_and_are_left_by_a_panic() {
        let ids = |number| TraceIds::new(number, 1, 0);
        let state = http::HeaderValue::from_static("a=1");
        let mut outer = TraceScope::new(ids(1), Some(state.clone()));
        let mut inner = TraceScope::new(ids(2), None);
        outer.enter(|| {
            for _ in 0..2 {
                assert_eq!(RequestFacts::current_trace_ids(), ids(1));
                assert_eq!(RequestFacts::current_trace_state(), Some(state.clone()));
                let within = || {
                    assert_eq!(RequestFacts::current_trace_ids(), ids(2));
                    assert_eq!(RequestFacts::current_trace_state(), None);
                    panic!("within");
                };
                let unwound = catch_unwind(AssertUnwindSafe(|| inner.enter(within)));
                assert!(unwound.is_err());
            }
        });
        assert_eq!(RequestFacts::current_trace_ids(), None);
        assert!(RequestFacts::current().is_none());
    }

    #[test]
    fn facts_are_read_in_place_and_stay_where_the_reader_panics() {
        let ids = TraceIds::new(1, 2, 0);
        assert_eq!(RequestFacts::with_current(RequestFacts::trace_ids), None);
        TraceScope::new(ids, None).enter(|| {
            let read = || RequestFacts::with_current(|_| panic!("while it reads"));
            assert!(catch_unwind(read).is_err());
            assert_eq!(
                RequestFacts::with_current(RequestFacts::trace_ids),
                Some(ids)
            );
        });
    }

    #[test]
    fn every_id_is_written_in_full() {
        let ids = TraceIds::new(1, 0xab, 0x0f).unwrap();
        assert_eq!(
            ids.to_string(),
            "00-00000000000000000000000000000001-00000000000000ab-0f"
        );
        let ids = TraceIds::new(u128::MAX, u64::MAX, u8::MAX).unwrap();
        assert_eq!(
            ids.to_string(),
            format!("00-{}-{}-ff", "f".repeat(32), "f".repeat(16))
        );
    }

    #[test]
    fn a_trace_id_is_not_zero() {
        assert_eq!(TraceIds::new(0, 1, 1), None);
    }

    #[test]
    fn flags_are_bits() {
        let ids = TraceIds::new(1, 1, TraceIds::RANDOM).unwrap();
        assert!(ids.is_random() && !ids.is_sampled());
        let ids = ids
            .with_flags(ids.flags() | TraceIds::SAMPLED)
            .with_span_id(2);
        assert!(ids.is_random() && ids.is_sampled());
        assert_eq!(ids.span_id(), 2);
    }

    #[test]
    fn none_takes_no_room() {
        assert_eq!(size_of::<Option<TraceIds>>(), 32);
    }
}
