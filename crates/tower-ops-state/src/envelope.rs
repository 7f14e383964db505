//! The envelope: a manifest in front, and the data as it says, byte by byte.
//!
//! ```text
//! {"format":"tower-ops-state","version":1,"head":{…},"sha256":"…","hmac":"…","data":{"a":…,"b":…}}
//! ```
//!
//! `sha256` and `hmac` are over the text of `head`, which has the length and the SHA-256
//! of each part of `data`: so they cover everything. It is JSON for every reader, but
//! written in one way only, and read in that way: there is nothing to search for, what
//! is not as it was written is refused, and the data is checked without decoding it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::error::{ErrorKind, StateError};
use crate::hex;
use crate::nesting::Nesting;
use crate::seal::{SigningKey, sha256};
use crate::segments::Segments;

const VERSION: u32 = 1;
const START: &str = "{\"format\":\"tower-ops-state\",\"version\":";
const HEAD: &str = ",\"head\":";
const SHA256: &str = ",\"sha256\":\"";
const HMAC: &str = ",\"hmac\":\"";
const DATA: &str = ",\"data\":{";
const END: &str = "}}\n";

/// Longer than the longest that a valid configuration can make.
const LONGEST_FRONT: usize = 128 * 1024;

/// What an envelope says about itself.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Head {
    pub(crate) application: String,
    pub(crate) application_version: String,
    pub(crate) instance: String,
    pub(crate) generation: u64,
    /// RFC 3339, in UTC.
    pub(crate) created: String,
    pub(crate) participants: Vec<Entry>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) length: u64,
    pub(crate) sha256: String,
}

impl Head {
    /// The digest of the data alone: equal for equal data, whenever it was captured.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for entry in &self.participants {
            let (name, version, sum) = (&entry.name, entry.version, &entry.sha256);
            digest.update(format!("{name} {version} {} {sum}\n", entry.length));
        }
        hex::encode(&digest.finalize())
    }

    /// The text in front of the data.
    pub(crate) fn front(&self, key: Option<&SigningKey>) -> serde_json::Result<String> {
        let head = serde_json::to_string(self)?;
        let sum = sha256(head.as_bytes());
        let mut front = format!("{START}{VERSION}{HEAD}{head}{SHA256}{sum}\"");
        if let Some(key) = key {
            let signature = key.sign(head.as_bytes());
            front.push_str(&format!("{HMAC}{signature}\""));
        }
        front.push_str(DATA);
        Ok(front)
    }

    /// What stands in front of the data of a participant.
    pub(crate) fn label(name: &str, is_first: bool) -> String {
        let comma = if is_first { "" } else { "," };
        format!("{comma}\"{name}\":")
    }

    /// What stands behind the data of the last one.
    pub(crate) const fn end() -> &'static str {
        END
    }
}

/// An envelope that is whole: all lengths, digests and signatures are right.
pub(crate) struct Envelope {
    pub(crate) head: Head,
    /// In the order of `head.participants`.
    pub(crate) data: Vec<Segments>,
}

impl Envelope {
    pub(crate) fn open(
        mut envelope: Segments,
        key: Option<&SigningKey>,
    ) -> Result<Self, StateError> {
        let front = envelope.front(LONGEST_FRONT);
        let (head, length) = read_front(&front, key)?;
        drop(front);
        let truncated = || broken("it is truncated");
        envelope.split_to(length).ok_or_else(truncated)?;

        let mut names = HashSet::new();
        let mut data = Vec::with_capacity(head.participants.len());
        for (at, entry) in head.participants.iter().enumerate() {
            if !names.insert(&entry.name) {
                return Err(broken("it has two participants of one name"));
            }
            let label = Head::label(&entry.name, at == 0);
            expect(&mut envelope, label.as_bytes())?;
            let length = usize::try_from(entry.length).map_err(|_| truncated())?;
            let piece = envelope.split_to(length).ok_or_else(truncated)?;
            check(&piece, entry)?;
            data.push(piece);
        }
        expect(&mut envelope, END.trim_end().as_bytes())?;
        // The newline is for terminals; some take it off.
        if !matches!(&*envelope.front(2), b"" | b"\n") {
            return Err(broken("there is more behind its end"));
        }
        Ok(Self { head, data })
    }
}

/// What the first bytes of an envelope say, without a look at the data.
pub(crate) fn read_head(front: &[u8], key: Option<&SigningKey>) -> Result<Head, StateError> {
    let front = &front[..front.len().min(LONGEST_FRONT)];
    read_front(front, key).map(|(head, _)| head)
}

/// How much [`read_head`] needs at most.
pub(crate) const fn longest_front() -> usize {
    LONGEST_FRONT
}

fn read_front(bytes: &[u8], key: Option<&SigningKey>) -> Result<(Head, usize), StateError> {
    let mut front = Front { bytes, at: 0 };
    if !front.skip(START) {
        return Err(StateError::new(
            ErrorKind::Broken,
            "this is not an envelope of tower-ops-state",
        ));
    }
    let version = front.digits();
    if version != VERSION.to_string().as_bytes() {
        return Err(broken(&format!(
            "its format is not version {VERSION}, the only one known here"
        )));
    }
    front.expect(HEAD)?;
    let text = front.json()?;
    front.expect(SHA256)?;
    if front.until_quote() != sha256(text).as_bytes() {
        return Err(broken("the digest of its head does not match"));
    }
    let signature = front.skip(HMAC).then(|| front.until_quote());
    if let Some(key) = key {
        let Some(signature) = signature else {
            return Err(broken("it is not signed, and has to be"));
        };
        if !key.has_signed(text, signature) {
            return Err(broken("it was signed with another key"));
        }
    }
    front.expect(DATA)?;
    let head: Head =
        serde_json::from_slice(text).map_err(|error| broken(&format!("its head: {error}")))?;
    Ok((head, front.at))
}

/// The part in front of the data, and how far it was read.
struct Front<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Front<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    fn skip(&mut self, text: &str) -> bool {
        let skips = self.rest().starts_with(text.as_bytes());
        if skips {
            self.at += text.len();
        }
        skips
    }

    fn expect(&mut self, text: &str) -> Result<(), StateError> {
        if self.skip(text) {
            Ok(())
        } else {
            Err(misplaced())
        }
    }

    fn digits(&mut self) -> &'a [u8] {
        self.take_while(u8::is_ascii_digit)
    }

    /// Up to the next quote, which is skipped.
    fn until_quote(&mut self) -> &'a [u8] {
        let taken = self.take_while(|byte| *byte != b'"');
        self.at = self.bytes.len().min(self.at + 1);
        taken
    }

    fn take_while(&mut self, wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().take_while(|byte| wanted(byte)).count();
        self.at += length;
        &rest[..length]
    }

    /// One value, of whatever kind.
    fn json(&mut self) -> Result<&'a [u8], StateError> {
        let mut values = serde_json::Deserializer::from_slice(self.rest()).into_iter::<&RawValue>();
        let value = values.next().and_then(Result::ok).ok_or_else(misplaced)?;
        self.at += values.byte_offset();
        Ok(value.get().as_bytes())
    }
}

fn expect(envelope: &mut Segments, text: &[u8]) -> Result<(), StateError> {
    let found = envelope.split_to(text.len());
    if found.is_some_and(|found| found.front(text.len()) == text) {
        Ok(())
    } else {
        Err(misplaced())
    }
}

/// Whether the data is what the manifest says, and safe to decode.
fn check(piece: &Segments, entry: &Entry) -> Result<(), StateError> {
    let mut digest = Sha256::new();
    let mut nesting = Nesting::default();
    let mut is_flat = true;
    for chunk in piece.chunks() {
        digest.update(chunk);
        is_flat = is_flat && nesting.accepts(chunk);
    }
    if hex::encode(&digest.finalize()) != entry.sha256 {
        return Err(broken("a digest does not match").with_participant(&entry.name));
    }
    if !is_flat {
        return Err(broken("its data is nested too deeply").with_participant(&entry.name));
    }
    Ok(())
}

fn misplaced() -> StateError {
    broken("it is truncated, or not as it was written")
}

fn broken(what: &str) -> StateError {
    StateError::new(ErrorKind::Broken, format!("the envelope is broken: {what}"))
}

#[cfg(test)]
mod tests;
