//! The ids by which a line is found: those of the exchange that it was written in.

use tower_ops_observe::{RequestFacts, TraceIds};

/// The most bytes of a request id, as tower-ops-request-id has it.
const REQUEST_ID: usize = 128;

/// The ids of a line, as far as they are known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Empty if there is none.
    pub(crate) request_id: Vec<u8>,
    /// 0 if there is none.
    pub(crate) trace_id: u128,
    /// 0 if there is none.
    pub(crate) span_id: u64,
    pub(crate) flags: Option<u8>,
}

/// A field that can hold an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdField {
    RequestId,
    TraceId,
    SpanId,
    TraceFlags,
}

impl IdField {
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "request_id" => Some(Self::RequestId),
            "trace_id" => Some(Self::TraceId),
            "span_id" => Some(Self::SpanId),
            "trace_flags" => Some(Self::TraceFlags),
            _ => None,
        }
    }
}

/// What becomes of a field with the name of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is the line's id.
    AsId,
    /// It is another one than the line's, or none at all.
    AsField,
}

impl Ids {
    pub(crate) fn clear(&mut self) {
        self.request_id.clear();
        (self.trace_id, self.span_id, self.flags) = (0, 0, None);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.request_id.is_empty() && self.trace_id == 0
    }

    /// Adds what is missing from the exchange that is being served on this thread.
    pub(crate) fn add_current(&mut self) {
        if !self.request_id.is_empty() && self.trace_id != 0 {
            return;
        }
        RequestFacts::with_current(|facts| {
            if self.request_id.is_empty()
                && let Some(id) = facts.request_id()
            {
                self.set_request_id(id.as_bytes());
            }
            if self.trace_id == 0
                && let Some(ids) = facts.trace_ids()
            {
                self.set_trace(ids);
            }
        });
    }

    /// Adds what is missing from a span around it.
    pub(crate) fn add(&mut self, outer: &Self) {
        if self.request_id.is_empty() {
            self.request_id.extend_from_slice(&outer.request_id);
        }
        if self.trace_id == 0 {
            self.trace_id = outer.trace_id;
            self.span_id = outer.span_id;
            self.flags = outer.flags;
        }
    }

    fn set_request_id(&mut self, id: &[u8]) {
        self.request_id.clear();
        let length = id.len().min(REQUEST_ID);
        self.request_id.extend_from_slice(&id[..length]);
    }

    const fn set_trace(&mut self, ids: TraceIds) {
        self.trace_id = ids.trace_id();
        self.span_id = ids.span_id();
        self.flags = Some(ids.flags());
    }

    /// Takes the value of a field as an id, if it is a well-formed one and no other is known.
    pub(crate) fn take(&mut self, field: IdField, value: &str) -> Taken {
        let is_ours = match field {
            IdField::RequestId => self.take_request_id(value),
            IdField::TraceId => take(&mut self.trace_id, u128_of_hex(value)),
            IdField::SpanId => take(&mut self.span_id, u64_of_hex(value)),
            IdField::TraceFlags => match u8_of_hex(value) {
                Some(flags) => *self.flags.get_or_insert(flags) == flags,
                None => false,
            },
        };
        if is_ours { Taken::AsId } else { Taken::AsField }
    }

    fn take_request_id(&mut self, id: &str) -> bool {
        if !self.request_id.is_empty() {
            return self.request_id == id.as_bytes();
        }
        let is_id = (1..=REQUEST_ID).contains(&id.len())
            && id.bytes().fold(true, |all, b| all & b.is_ascii_graphic());
        if is_id {
            self.set_request_id(id.as_bytes());
        }
        is_id
    }

    /// Returns whether the trace is recorded, if that is known.
    pub(crate) fn is_sampled(&self) -> Option<bool> {
        self.flags.map(|flags| flags & TraceIds::SAMPLED != 0)
    }

    pub(crate) fn trace_id_hex(&self) -> [u8; 32] {
        let mut digits = [0; 32];
        let (high, low) = digits.split_at_mut(16);
        high.copy_from_slice(&hex_of_u64((self.trace_id >> 64) as u64));
        low.copy_from_slice(&hex_of_u64(self.trace_id as u64));
        digits
    }

    pub(crate) fn span_id_hex(&self) -> [u8; 16] {
        hex_of_u64(self.span_id)
    }

    pub(crate) fn flags_hex(&self) -> Option<[u8; 2]> {
        let digits = hex_of_u32(self.flags?.into());
        Some([digits[6], digits[7]])
    }
}

/// Returns a number as lower-case hexadecimal digits, all eight at once.
const fn hex_of_u32(number: u32) -> [u8; 8] {
    let spread = number as u64;
    let spread = ((spread << 16) | spread) & 0x0000_ffff_0000_ffff;
    let spread = ((spread << 8) | spread) & 0x00ff_00ff_00ff_00ff;
    written(((spread << 4) | spread) & 0x0f0f_0f0f_0f0f_0f0f).to_be_bytes()
}

/// Returns the digits of eight numbers that are less than 16.
const fn written(nibbles: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let letters = ((nibbles + 6 * ONES) >> 4) & ONES;
    nibbles + b'0' as u64 * ONES + letters * (b'a' - b'0' - 10) as u64
}

fn hex_of_u64(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (high, low) = digits.split_at_mut(8);
    high.copy_from_slice(&hex_of_u32((number >> 32) as u32));
    low.copy_from_slice(&hex_of_u32(number as u32));
    digits
}

/// Takes a number if there is none yet. Returns whether it is that number now.
fn take<T: Copy + PartialEq + Default>(known: &mut T, given: Option<T>) -> bool {
    let Some(given) = given.filter(|given| *given != T::default()) else {
        return false;
    };
    if *known == T::default() {
        *known = given;
    }
    *known == given
}

/// Reads 32 lower-case hexadecimal digits.
fn u128_of_hex(text: &str) -> Option<u128> {
    let (high, low) = text.split_at_checked(16)?;
    Some((u128::from(u64_of_hex(high)?) << 64) | u128::from(u64_of_hex(low)?))
}

/// Reads 16 lower-case hexadecimal digits.
fn u64_of_hex(text: &str) -> Option<u64> {
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    let ([high, low], []) = (eights, rest) else {
        return None;
    };
    Some((u64::from(eight_digits(*high)?) << 32) | u64::from(eight_digits(*low)?))
}

/// Reads 2 lower-case hexadecimal digits.
fn u8_of_hex(text: &str) -> Option<u8> {
    let [high, low] = *<&[u8; 2]>::try_from(text.as_bytes()).ok()?;
    Some(eight_digits([b'0', b'0', b'0', b'0', b'0', b'0', high, low])? as u8)
}

/// Reads eight digits at once. What is none is more than 15, or is written in another way again.
fn eight_digits(digits: [u8; 8]) -> Option<u32> {
    const ONES: u64 = u64::MAX / 255;
    let text = u64::from_be_bytes(digits);
    let nibbles = (text & (0x0f * ONES)).wrapping_add(9 * ((text >> 6) & ONES));
    let are_digits = nibbles & (0xf0 * ONES) == 0 && written(nibbles) == text;
    let pairs = (nibbles | (nibbles >> 4)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    are_digits.then_some((fours | (fours >> 16)) as u32)
}

/// Returns the id of a scope that is entered, for tests of what stands around a line.
#[cfg(test)]
pub(crate) fn in_scope<R>(id: &'static str, step: impl FnOnce() -> R) -> R {
    let id = http::HeaderValue::from_static(id);
    tower_ops_observe::RequestIdScope::new(Some(id)).enter(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for number in [
            0,
            1,
            9,
            10,
            0x9a,
            0x0123_4567_89ab_cdef,
            u64::MAX,
            0xfedc_ba98_7654_3210,
        ] {
            let digits = hex_of_u64(number);
            let text = format!("{number:016x}");
            assert_eq!(str::from_utf8(&digits), Ok(&*text));
            assert_eq!(u64_of_hex(&text), Some(number));
        }
        for byte in 0..=u8::MAX {
            assert_eq!(u8_of_hex(&format!("{byte:02x}")), Some(byte));
            let mut digits = *b"01234567";
            digits[3] = byte;
            let expected = byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
            assert_eq!(eight_digits(digits).is_some(), expected, "{byte}");
        }
    }

    #[test]
    fn what_is_no_id_stays_a_field() {
        let mut ids = Ids::default();
        for (field, value) in [
            (IdField::RequestId, ""),
            (IdField::RequestId, "a b"),
            (IdField::RequestId, "a\n"),
            (IdField::RequestId, "é"),
            (IdField::TraceId, "00000000000000000000000000000000"),
            (IdField::TraceId, "4BF92F3577B34DA6A3CE929D0E0E4736"),
            (IdField::TraceId, "4bf92f3577b34da6a3ce929d0e0e473"),
            (IdField::SpanId, "+0f067aa0ba902b7"),
            (IdField::TraceFlags, "1"),
            (IdField::TraceFlags, "zz"),
        ] {
            assert_eq!(ids.take(field, value), Taken::AsField, "{value:?}");
        }
        assert_eq!(
            ids.take(IdField::RequestId, &"x".repeat(129)),
            Taken::AsField
        );
        assert!(ids.is_empty());
    }

    #[test]
    fn the_first_id_stays() {
        let mut ids = Ids::default();
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(ids.take(IdField::TraceId, trace), Taken::AsId);
        assert_eq!(ids.take(IdField::TraceId, trace), Taken::AsId);
        assert_eq!(
            ids.take(IdField::TraceId, &trace.replace('4', "5")),
            Taken::AsField
        );
        assert_eq!(ids.take(IdField::SpanId, "00f067aa0ba902b7"), Taken::AsId);
        assert_eq!(ids.take(IdField::TraceFlags, "03"), Taken::AsId);
        assert_eq!(ids.take(IdField::RequestId, "a"), Taken::AsId);
        assert_eq!(ids.take(IdField::RequestId, "b"), Taken::AsField);
        assert_eq!(ids.trace_id_hex(), *trace.as_bytes());
        assert_eq!(ids.span_id_hex(), *b"00f067aa0ba902b7");
        assert_eq!(
            (ids.flags_hex(), ids.is_sampled()),
            (Some(*b"03"), Some(true))
        );
    }

    #[test]
    fn the_current_one_is_found() {
        in_scope("of-the-scope", || {
            let mut ids = Ids::default();
            ids.add_current();
            assert_eq!(ids.request_id, b"of-the-scope");
            let mut other = Ids::default();
            other.take(IdField::RequestId, "other");
            other.add_current();
            other.add(&ids);
            assert_eq!(other.request_id, b"other");
        });
    }
}
