//! The envelope: a manifest, and behind it the data that the manifest describes.
//!
//! ```text
//! {"format":"tower-ops-state","version":1,"head":{…},"sha256":"…","hmac":"…","data":{"a":…,"b":…}}
//! ```
//!
//! `sha256` and `hmac` are over the text of `head`. The head has the length and the SHA-256 of each
//! part of `data`, so that the two cover everything. Every JSON tool can read an envelope, but it is
//! written in exactly one way and read in exactly that way: the reader searches for nothing, refuses
//! everything that it would not have written, and checks the data without decoding it.

mod segments;

use std::collections::HashSet;
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub(crate) use self::segments::{Collector, Received, Segments, unreadable};
use crate::error::{ErrorKind, StateError, StateResult};

const START: &str = "{\"format\":\"tower-ops-state\",\"version\":";
const VERSION: &str = "1,";
const HEAD: &str = "\"head\":";
const SHA256: &str = ",\"sha256\":\"";
const HMAC: &str = ",\"hmac\":\"";
const DATA: &str = ",\"data\":{";
/// What stands behind the data of the last participant.
pub(crate) const END: &str = "}}\n";

/// How many bytes [`read_head`] needs at most: more than a valid configuration can produce.
pub(crate) const LONGEST_FRONT: usize = 128 * 1024;

/// The manifest of an envelope.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Head {
    pub(crate) application: String,
    pub(crate) application_version: String,
    pub(crate) instance: String,
    pub(crate) generation: u64,
    #[serde(with = "rfc3339")]
    pub(crate) created: SystemTime,
    pub(crate) participants: Vec<Entry>,
}

/// The data of one participant, as the manifest describes it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) length: u64,
    pub(crate) sha256: String,
}

impl Head {
    /// The digest of the data alone: the same for the same data, whenever it was captured.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for entry in &self.participants {
            let (name, version, sum) = (&entry.name, entry.version, &entry.sha256);
            digest.update(format!("{name} {version} {} {sum}\n", entry.length));
        }
        hex(digest)
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

    /// The text in front of the data of one participant.
    pub(crate) fn label(name: &str, is_first: bool) -> String {
        let comma = if is_first { "" } else { "," };
        format!("{comma}\"{name}\":")
    }
}

/// An envelope whose lengths, digests and signature were checked.
pub(crate) struct Envelope {
    pub(crate) head: Head,
    /// In the order of `head.participants`.
    pub(crate) data: Vec<Segments>,
}

impl Envelope {
    pub(crate) fn open(mut envelope: Segments, key: Option<&SigningKey>) -> StateResult<Self> {
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
        // The newline is for terminals. Some tools strip it.
        if !matches!(&*envelope.front(2), b"" | b"\n") {
            return Err(broken("there is text behind its end"));
        }
        Ok(Self { head, data })
    }
}

/// Reads the manifest from the first bytes of an envelope. Does not look at the data.
pub(crate) fn read_head(front: &[u8]) -> StateResult<Head> {
    read_front(front, None).map(|(head, _)| head)
}

/// Returns the manifest, and how many bytes stand in front of the data.
fn read_front(bytes: &[u8], key: Option<&SigningKey>) -> StateResult<(Head, usize)> {
    let mut front = Front(bytes);
    if !front.skip(START) {
        return Err(ErrorKind::Broken.error("this is not an envelope of tower-ops-state"));
    }
    if !front.skip(VERSION) {
        let text = "its format is not version 1, the only one that is supported";
        return Err(broken(text));
    }
    front.expect(HEAD)?;
    let text = front.json()?;
    front.expect(SHA256)?;
    if front.until_quote()? != sha256(text).as_bytes() {
        return Err(broken("the digest of its head does not match"));
    }
    let is_signed = front.skip(HMAC);
    let signature = is_signed.then(|| front.until_quote()).transpose()?;
    match (key, signature) {
        (Some(_), None) => return Err(broken("it is not signed, and has to be")),
        (Some(key), Some(signature)) if !key.has_signed(text, signature) => {
            return Err(broken("it was signed with another key"));
        }
        _ => {}
    }
    front.expect(DATA)?;
    let head = serde_json::from_slice(text);
    let head = head.map_err(|error| broken(&format!("its head: {error}")))?;
    Ok((head, bytes.len() - front.0.len()))
}

/// What is left to read of the text in front of the data.
struct Front<'a>(&'a [u8]);

impl<'a> Front<'a> {
    fn skip(&mut self, text: &str) -> bool {
        let rest = self.0.strip_prefix(text.as_bytes());
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, text: &str) -> StateResult<()> {
        self.skip(text).then_some(()).ok_or_else(misplaced)
    }

    /// Reads up to the next quote, and skips the quote.
    fn until_quote(&mut self) -> StateResult<&'a [u8]> {
        let quote = self.0.iter().position(|byte| *byte == b'"');
        let (taken, rest) = self.0.split_at(quote.ok_or_else(misplaced)?);
        self.0 = &rest[1..];
        Ok(taken)
    }

    /// Reads one JSON value of any kind.
    fn json(&mut self) -> StateResult<&'a [u8]> {
        let mut values = serde_json::Deserializer::from_slice(self.0).into_iter::<&RawValue>();
        let value = values.next().and_then(Result::ok).ok_or_else(misplaced)?;
        self.0 = &self.0[values.byte_offset()..];
        Ok(value.get().as_bytes())
    }
}

fn expect(envelope: &mut Segments, text: &[u8]) -> StateResult<()> {
    let found = envelope.split_to(text.len());
    let is_there = found.is_some_and(|found| found.front(text.len()) == text);
    is_there.then_some(()).ok_or_else(misplaced)
}

/// Checks that the data is what the manifest describes, and that it is safe to decode.
fn check(piece: &Segments, entry: &Entry) -> StateResult<()> {
    let (mut digest, mut nesting) = (Sha256::new(), Nesting::default());
    piece.chunks().for_each(|chunk| digest.update(chunk));
    let problem = if hex(digest) != entry.sha256 {
        "a digest does not match"
    } else if !piece.chunks().all(|chunk| nesting.accepts(chunk)) {
        "its data is nested too deeply"
    } else {
        return Ok(());
    };
    Err(broken(problem).with_participant(&entry.name))
}

fn misplaced() -> StateError {
    broken("it is truncated, or not as it was written")
}

fn broken(problem: &str) -> StateError {
    ErrorKind::Broken.error(format!("the envelope is broken: {problem}"))
}

/// Signs envelopes with HMAC-SHA256, and verifies its own signatures.
#[derive(Clone)]
pub(crate) struct SigningKey {
    mac: Hmac<Sha256>,
}

impl SigningKey {
    /// Shorter keys can be guessed.
    pub(crate) const SHORTEST: usize = 16;

    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        // HMAC takes keys of every length, which the type does not express.
        Hmac::new_from_slice(key).ok().map(|mac| Self { mac })
    }

    fn sign(&self, head: &[u8]) -> String {
        let mac = self.mac.clone().chain_update(head);
        format!("{:x}", mac.finalize().into_bytes())
    }

    /// Compares in constant time.
    fn has_signed(&self, head: &[u8], signature: &[u8]) -> bool {
        self.sign(head).as_bytes().ct_eq(signature).into()
    }
}

/// The SHA-256 of bytes, in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new().chain_update(bytes))
}

/// A digest in hexadecimal, in lower case.
pub(crate) fn hex(digest: Sha256) -> String {
    format!("{:x}", digest.finalize())
}

/// How deep the JSON is nested that passes by: one pass, constant memory.
///
/// serde_json limits the depth of what it decodes. It does not limit the depth of what it skips,
/// and remembers each bracket of that.
#[derive(Default)]
pub(crate) struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Below the limit of serde_json, so that both ways give the same answer.
    const DEEPEST: usize = 120;

    /// Returns whether the depth is within the limit so far. Of text that is not JSON it may return
    /// either.
    pub(crate) fn accepts(&mut self, chunk: &[u8]) -> bool {
        for &byte in chunk {
            if self.escaped {
                self.escaped = false;
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'[' | b'{' if !self.in_string => {
                    self.depth += 1;
                    if self.depth > Self::DEEPEST {
                        return false;
                    }
                }
                b']' | b'}' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        true
    }
}

/// A time as text: RFC 3339, in UTC.
pub(crate) mod rfc3339 {
    use std::time::SystemTime;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        time: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
