//! Fields of spans and events, rendered once: each key once, each value bounded.

use std::error::Error;
use std::fmt::{Debug, Write};

use self::name::Name;
use crate::escape::{CUT, Escape, Notation, is_plain};
use crate::format::Style;
use crate::stamp::PAIRS;

pub(crate) mod access;
pub(crate) mod name;
pub(crate) mod visit;

/// The most bytes of a key, as it stands in a line, unless it has to be escaped.
const KEY: usize = 64;
/// The most bytes of a value, as it stands in a line.
pub(crate) const VALUE: usize = 1024;
/// The most bytes of all fields of a line. With what else stands in a line, at its largest, it is
/// less than 16 KiB; a test adds it up.
pub(crate) const FIELDS: usize = 9 * 1024;
/// What stands before a key that a line needs for itself.
const PREFIX: &str = "field.";
/// How many causes of an error are written.
const CAUSES: usize = 8;

/// A key, as it stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    text: &'a str,
    is_prefixed: bool,
    /// The number of a bit. Keys with different ones differ.
    bit: u8,
}

/// A value of a field.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Str(&'a str),
    Bytes(&'a [u8]),
    Bool(bool),
    U64(u64),
    I64(i64),
    U128(u128),
    I128(i128),
    F64(f64),
    Error(&'a (dyn Error + 'static)),
    Debug(&'a dyn Debug),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key<'static>,
    end: usize,
}

/// Rendered fields, such as `,"user":7,"basket":"empty"` or ` user=7 basket=empty`.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The bits of all keys.
    bits: u64,
    /// What of [`FIELDS`] stands elsewhere in the line.
    elsewhere: usize,
    /// Whether a value was cut, or a field left out.
    pub(crate) is_cut: bool,
}

impl Fields {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        (self.bits, self.elsewhere, self.is_cut) = (0, 0, false);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.is_cut
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes that it holds on to.
    pub(crate) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn has(&self, key: Key<'_>) -> bool {
        self.bits & (1 << key.bit) != 0 && self.entries.iter().any(|entry| entry.key == key)
    }

    /// Renders a field, unless there is one with that key. The value is appended by a function that
    /// returns whether it was cut.
    #[inline]
    pub(crate) fn put(&mut self, name: &Name, value: impl FnOnce(&mut Vec<u8>) -> bool) {
        if self.has(name.key) {
            return;
        }
        let begin = self.bytes.len();
        name.push_begin(&mut self.bytes);
        self.is_cut |= value(&mut self.bytes);
        self.keep(begin, name.key);
    }

    /// Renders a field whose name is not one of a span or an event.
    pub(crate) fn put_named(&mut self, style: Style, name: &'static str, value: Value<'_>) {
        self.put(&Name::new(name, style), |out| value.render(out, style));
    }

    fn remove(&mut self, key: Key<'_>) {
        let Some(index) = self.entries.iter().position(|entry| entry.key == key) else {
            return;
        };
        let begin = if index == 0 {
            0
        } else {
            self.entries[index - 1].end
        };
        let length = self.entries.remove(index).end - begin;
        self.bytes.drain(begin..begin + length);
        for entry in &mut self.entries[index..] {
            entry.end -= length;
        }
    }

    /// Adds the fields of a span around it, but for those with keys that are there. After the last
    /// ones nobody asks for keys.
    pub(crate) fn add(&mut self, outer: &Self, are_last: bool) {
        self.is_cut |= outer.is_cut;
        let begin = self.bytes.len();
        let size = begin + outer.bytes.len() + self.elsewhere;
        if self.bits & outer.bits == 0 && size <= FIELDS {
            self.bytes.extend_from_slice(&outer.bytes);
            if are_last {
                return;
            }
            self.bits |= outer.bits;
            let moved = outer.entries.iter().map(|entry| Entry {
                key: entry.key,
                end: entry.end + begin,
            });
            self.entries.extend(moved);
            return;
        }
        outer.for_each(|key, field| {
            if !self.has(key) {
                self.append(key, field);
            }
        });
    }

    /// Adds fields in place of those with the same keys.
    pub(crate) fn replace(&mut self, news: &Self) {
        self.is_cut |= news.is_cut;
        news.for_each(|key, field| {
            if self.has(key) {
                self.remove(key);
            }
            self.append(key, field);
        });
    }

    fn append(&mut self, key: Key<'static>, field: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(field);
        self.keep(begin, key);
    }

    fn for_each(&self, mut each: impl FnMut(Key<'static>, &[u8])) {
        let mut begin = 0;
        for entry in &self.entries {
            each(entry.key, &self.bytes[begin..entry.end]);
            begin = entry.end;
        }
    }

    /// Keeps the field that begins there, if there is room for it.
    fn keep(&mut self, begin: usize, key: Key<'static>) {
        let end = self.bytes.len();
        if end + self.elsewhere > FIELDS {
            self.bytes.truncate(begin);
            self.is_cut = true;
            return;
        }
        self.bits |= 1 << key.bit;
        self.entries.push(Entry { key, end });
    }

    /// Calls for each field that is not among the others.
    pub(crate) fn for_each_but(&self, others: &Self, mut each: impl FnMut(&[u8])) {
        self.for_each(|key, field| {
            if !others.has(key) {
                each(field);
            }
        });
    }
}

fn push_key(out: &mut Vec<u8>, key: Key<'_>, style: Style) {
    let begin: &[u8] = match style {
        Style::Json | Style::Ecs | Style::Gcp => b",\"",
        Style::Text => b" ",
        Style::Color => b" \x1b[2m",
    };
    out.extend_from_slice(begin);
    if key.is_prefixed {
        out.extend_from_slice(PREFIX.as_bytes());
    }
    // Six bytes for each of them at most.
    Escape::new(out, style.notation(), 6 * KEY + 3).push(key.text);
    let end: &[u8] = match style {
        Style::Json | Style::Ecs | Style::Gcp => b"\":",
        Style::Text => b"=",
        Style::Color => b"=\x1b[0m",
    };
    out.extend_from_slice(end);
}

impl Value<'_> {
    /// Appends the value. Returns whether it was cut.
    pub(crate) fn render(self, out: &mut Vec<u8>, style: Style) -> bool {
        match self {
            Self::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Self::U64(value) => push_u64(out, value),
            Self::I64(value) => push_i64(out, value),
            Self::U128(value) => match u64::try_from(value) {
                Ok(value) => push_u64(out, value),
                // Other numbers are more than readers of JSON hold.
                Err(_) => return self.quoted(out, style),
            },
            Self::I128(value) => match i64::try_from(value) {
                Ok(value) => return Self::I64(value).render(out, style),
                Err(_) => return self.quoted(out, style),
            },
            Self::F64(value) if value.is_finite() => push_f64(out, value),
            Self::F64(_) | Self::Str(_) | Self::Bytes(_) | Self::Error(_) | Self::Debug(_) => {
                return self.quoted(out, style);
            }
        }
        false
    }

    fn quoted(self, out: &mut Vec<u8>, style: Style) -> bool {
        match self {
            Self::Str(text) if push_plain(out, text, style) => false,
            _ => self.quoted_slowly(out, style),
        }
    }

    fn quoted_slowly(self, out: &mut Vec<u8>, style: Style) -> bool {
        let begin = out.len();
        out.push(b'"');
        let notation = match style.notation() {
            Notation::Json => Notation::Json,
            Notation::Text | Notation::Quoted => Notation::Quoted,
        };
        let mut escape = Escape::new(out, notation, VALUE);
        self.write(&mut escape);
        let (is_cut, is_word) = (escape.is_cut(), escape.is_word());
        if notation == Notation::Quoted && is_word && out.len() > begin + 1 {
            out.remove(begin);
        } else {
            out.push(b'"');
        }
        is_cut
    }

    /// Writes a value that is text.
    pub(crate) fn write(self, out: &mut Escape<'_>) {
        // An error means that it was cut, or that the value is one that cannot be formatted.
        let _ = match self {
            Self::Str(text) => {
                out.push(text);
                Ok(())
            }
            Self::Bytes(bytes) => {
                out.push_bytes(bytes);
                Ok(())
            }
            Self::Debug(value) => write!(out, "{value:?}"),
            Self::Error(error) => write_error(out, error),
            Self::Bool(value) => write!(out, "{value}"),
            Self::U64(value) => write!(out, "{value}"),
            Self::I64(value) => write!(out, "{value}"),
            Self::U128(value) => write!(out, "{value}"),
            Self::I128(value) => write!(out, "{value}"),
            Self::F64(value) => write!(out, "{value}"),
        };
    }
}

/// Writes an error and its causes, with colons between them.
fn write_error(out: &mut Escape<'_>, error: &(dyn Error + 'static)) -> std::fmt::Result {
    write!(out, "{error}")?;
    let mut cause = error.source();
    for _ in 0..CAUSES {
        let Some(error) = cause else { break };
        write!(out, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

/// Appends text as a JSON string, if it is short and nothing in it has to be escaped.
#[inline]
fn push_plain(out: &mut Vec<u8>, text: &str, style: Style) -> bool {
    let is_plain = style.is_json() && text.len() <= VALUE - CUT.len() && is_plain(text);
    if is_plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
    is_plain
}

fn push_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_u64(out, number.unsigned_abs());
}

/// Appends a finite number, which is read as the same one again.
fn push_f64(out: &mut Vec<u8>, number: f64) {
    // Durations and ratios have few decimals. A number of thousandths, divided by 1,000, is the number
    // that is nearest to its decimal notation.
    if push_decimals::<3>(out, number, 1e3) || push_decimals::<6>(out, number, 1e6) {
        return;
    }
    // Writing to a vector does not fail.
    let _ = std::io::Write::write_fmt(out, format_args!("{number:?}"));
}

/// Appends a number, if it has so many decimals at most.
#[inline]
fn push_decimals<const DECIMALS: usize>(out: &mut Vec<u8>, number: f64, scale: f64) -> bool {
    /// The standard library writes smaller ones with an exponent.
    const LEAST: f64 = 1e-4;
    const MOST: f64 = 1e9;
    let size = number.abs();
    if !(LEAST..MOST).contains(&size) {
        return false;
    }
    let scaled = (size * scale + 0.5) as u64;
    if scaled as f64 / scale != size {
        return false;
    }
    if number < 0.0 {
        out.push(b'-');
    }
    let unit = scale as u64;
    push_u64(out, scaled / unit);
    let mut rest = scaled % unit;
    let mut digits = [b'0'; DECIMALS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.push(b'.');
    let end = out.len() + DECIMALS;
    out.extend_from_slice(&digits);
    let zeros = digits[1..].iter().rev();
    let zeros = zeros.take_while(|digit| **digit == b'0').count();
    out.truncate(end - zeros);
    true
}

pub(crate) fn push_u64(out: &mut Vec<u8>, number: u64) {
    let pair = |number: u64| PAIRS[(number % 100) as usize];
    // Of fixed lengths, so that no function is called for a few bytes.
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&pair(number)),
        100..1_000 => {
            let [tens, ones] = pair(number);
            out.extend_from_slice(&[b'0' + (number / 100) as u8, tens, ones]);
        }
        1_000..10_000 => {
            let ([a, b], [c, d]) = (pair(number / 100), pair(number));
            out.extend_from_slice(&[a, b, c, d]);
        }
        _ => push_large(out, number),
    }
}

fn push_large(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests;
