//! The one place in which text becomes part of a line: nothing that it lets through can end the
//! line, end a quoted value, move a terminal's cursor or turn the order of what is displayed.

use std::fmt;

/// What is written where text does not fit.
pub(crate) const CUT: &str = "…";

/// How text is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    /// Within a JSON string: `\"`, `\\`, `\n`, `\u202e`.
    Json,
    /// Within a line of text: `\n`, `\u{202e}`. Quotes and backslashes stay.
    Text,
    /// Within quotes in a line of text: as text, and `\"` and `\\`.
    Quoted,
}

/// Appends text to a line, escaped, and no more of it than fits.
pub(crate) struct Escape<'a> {
    out: &'a mut Vec<u8>,
    notation: Notation,
    /// Where it has to be cut.
    end: usize,
    is_cut: bool,
    /// Whether there was nothing that makes a word of text need quotes.
    is_word: bool,
}

impl<'a> Escape<'a> {
    /// Appends at most `limit` bytes, as they are in the line.
    pub(crate) const fn new(out: &'a mut Vec<u8>, notation: Notation, limit: usize) -> Self {
        let end = out.len() + limit - CUT.len();
        Self {
            out,
            notation,
            end,
            is_cut: false,
            is_word: true,
        }
    }

    /// Returns whether something was left out.
    pub(crate) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns whether what was appended is one word: without spaces, quotes, backslashes, equals
    /// signs and escapes.
    pub(crate) const fn is_word(&self) -> bool {
        self.is_word
    }

    /// Appends text.
    #[inline]
    pub(crate) fn push(&mut self, text: &str) {
        if !self.is_cut && text.len() <= self.end - self.out.len() && is_plain(text) {
            self.note(text.as_bytes());
            self.out.extend_from_slice(text.as_bytes());
        } else {
            self.push_slowly(text);
        }
    }

    /// What is far behind the cut is not looked at.
    #[cold]
    fn push_slowly(&mut self, text: &str) {
        let mut rest = text;
        // No character is shorter in a line than by itself.
        let mut enough = self.end - self.out.len().min(self.end) + 1;
        if enough < rest.len() {
            while !rest.is_char_boundary(enough) {
                enough += 1;
            }
            rest = &rest[..enough];
        }
        while !self.is_cut {
            let plain = plain_prefix(rest.as_bytes());
            if plain > 0 {
                self.copy(&rest[..plain]);
                rest = &rest[plain..];
            }
            let Some(character) = rest.chars().next() else {
                return;
            };
            rest = &rest[character.len_utf8()..];
            if !self.is_cut {
                self.character(character);
            }
        }
    }

    /// Appends bytes. What is not UTF-8 becomes U+FFFD.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        if !self.is_cut && bytes.len() <= self.end - self.out.len() && is_plain_ascii(bytes) {
            self.note(bytes);
            self.out.extend_from_slice(bytes);
            return;
        }
        // A character that is torn here is behind the cut.
        let enough = self.end - self.out.len().min(self.end) + 4;
        let bytes = &bytes[..bytes.len().min(enough)];
        for chunk in bytes.utf8_chunks() {
            self.push(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.push("\u{fffd}");
            }
            if self.is_cut {
                return;
            }
        }
    }

    /// Notes whether it is still a word.
    fn note(&mut self, plain: &[u8]) {
        if self.notation != Notation::Json && self.is_word {
            self.is_word = !plain.iter().any(|byte| matches!(byte, b' ' | b'='));
        }
    }

    fn copy(&mut self, plain: &str) {
        let room = self.end - self.out.len();
        self.note(plain.as_bytes());
        if plain.len() <= room {
            self.out.extend_from_slice(plain.as_bytes());
            return;
        }
        let mut fits = room;
        while !plain.is_char_boundary(fits) {
            fits -= 1;
        }
        self.out.extend_from_slice(&plain.as_bytes()[..fits]);
        self.cut();
    }

    fn cut(&mut self) {
        self.out.extend_from_slice(CUT.as_bytes());
        self.is_cut = true;
    }

    fn character(&mut self, character: char) {
        let mut escaped = [0; 10];
        let length = escape(character, self.notation, &mut escaped);
        self.is_word = false;
        if length > self.end - self.out.len() {
            self.cut();
        } else {
            self.out.extend_from_slice(&escaped[..length]);
        }
    }
}

impl fmt::Write for Escape<'_> {
    /// Fails once it is cut, so that a value of a megabyte is not rendered to its end.
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Writes a character as it may stand in a line, and returns its length.
fn escape(character: char, notation: Notation, out: &mut [u8; 10]) -> usize {
    let short = match character {
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '"' | '\\' if notation != Notation::Text => character as u8,
        _ if is_dangerous(character) => return numeric(character, notation, out),
        _ => return character.encode_utf8(out).len(),
    };
    out[..2].copy_from_slice(&[b'\\', short]);
    2
}

/// All of them are in the basic plane.
fn numeric(character: char, notation: Notation, out: &mut [u8; 10]) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let code = character as u32;
    let digit = |place: u32| DIGITS[(code >> (4 * place)) as usize & 15];
    if notation == Notation::Json {
        let text = [b'\\', b'u', digit(3), digit(2), digit(1), digit(0)];
        out[..6].copy_from_slice(&text);
        return 6;
    }
    out[..3].copy_from_slice(b"\\u{");
    let places = (u32::BITS - code.leading_zeros()).div_ceil(4).max(1);
    let mut length = 3;
    for place in (0..places).rev() {
        out[length] = digit(place);
        length += 1;
    }
    out[length] = b'}';
    length + 1
}

/// The control characters, the separators of lines and paragraphs, and what changes the direction
/// of text.
pub(crate) const fn is_dangerous(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Returns how many bytes at the beginning need no closer look. The rest begins with a character.
fn plain_prefix(bytes: &[u8]) -> usize {
    if is_plain_ascii(bytes) {
        return bytes.len();
    }
    bytes
        .iter()
        .take_while(|byte| PLAIN[usize::from(**byte)])
        .count()
}

/// Returns whether nothing in it has to be escaped, in any notation.
pub(crate) fn is_plain(text: &str) -> bool {
    plain_prefix(text.as_bytes()) == text.len()
}

/// Returns whether nothing has to be escaped, and all is ASCII. Looks at 16 bytes at once.
fn is_plain_ascii(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        let mut chunks = bytes.chunks_exact(16);
        // The last one overlaps the one before it.
        return chunks.all(|chunk| chunk.first_chunk().is_some_and(are_plain)) && are_plain(last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return !needs_a_look(u64::from_le_bytes(*first))
            && !needs_a_look(u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return !needs_a_look((u64::from(first) << 32) | u64::from(last));
    }
    let mut bytes = bytes.iter();
    bytes.all(|byte| byte.is_ascii() && PLAIN[usize::from(*byte)])
}

/// Returns whether 16 bytes are plain ASCII. The compiler makes a few vector instructions of it.
fn are_plain(bytes: &[u8; 16]) -> bool {
    let mut special = [0; 16];
    for (special, byte) in special.iter_mut().zip(bytes) {
        let is_outside = byte.wrapping_sub(0x20) >= 0x7f - 0x20;
        *special = u8::from(is_outside) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
    }
    u128::from_ne_bytes(special) == 0
}

const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = is_plain_byte(byte as u8);
        byte += 1;
    }
    plain
};

/// Returns false for the first bytes of what is dangerous (U+0080 to U+00BF, U+0600 to U+063F,
/// U+2000 to U+2FFF) and for the ASCII characters that are escaped in any notation.
const fn is_plain_byte(byte: u8) -> bool {
    !matches!(byte, 0..=0x1f | b'"' | b'\\' | 0x7f | 0xc2 | 0xd8 | 0xe2)
}

/// Returns whether one of eight bytes is not plain, or not ASCII.
const fn needs_a_look(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    // With the second bit turned, a quote is 0x20, and no other than a control character is below.
    let quote = word ^ (ONES * 2);
    let control_or_quote = quote.wrapping_sub(ONES * 0x21) & !quote;
    let backslash = word ^ (ONES * b'\\' as u64);
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    let delete = word.wrapping_add(ONES);
    (control_or_quote | backslash | delete | word) & HIGH != 0
}

#[cfg(test)]
mod tests;
