use std::fmt;
use std::io::{self, Write};

use sha2::{Digest, Sha256};

use crate::attempt::Attempt;
use crate::envelope::{Entry, Head};
use crate::error::{ErrorKind, StateError};
use crate::hex;
use crate::member::{Data, Snapshot};
use crate::nesting::Nesting;

/// The state of one moment, to be written wherever it is needed. Made by
/// [`State::capture`](crate::State::capture).
///
/// It holds what the participants gave, and not the text: that is made each time it is
/// written, in pieces, so that it never has to be in memory as a whole.
pub struct Capture {
    front: String,
    parts: Vec<Part>,
    size: u64,
    generation: u64,
    digest: String,
}

struct Part {
    label: String,
    data: Data,
    length: u64,
}

impl Capture {
    /// Serialises everything once, for the lengths and digests.
    pub(crate) fn measure(
        mut head: Head,
        taken: Vec<(&str, u32, Data)>,
        key: Option<&crate::seal::SigningKey>,
        max_size: usize,
        attempt: &Attempt,
    ) -> Result<Self, StateError> {
        let limit = u64::try_from(max_size).unwrap_or(u64::MAX);
        let mut parts = Vec::with_capacity(taken.len());
        let mut size = 0;
        for (name, version, data) in taken {
            let label = Head::label(name, parts.is_empty());
            let mut measure = Measure::new(limit - size, Some(attempt));
            if let Err(error) = data.write(&mut measure) {
                return Err(measure.why(&error, max_size).with_participant(name));
            }
            let (length, sha256) = measure.finish();
            size = limit.min(size + length);
            head.participants.push(Entry {
                name: name.to_owned(),
                version,
                length,
                sha256,
            });
            parts.push(Part {
                label,
                data,
                length,
            });
        }
        let front = head.front(key).map_err(StateError::internal)?;
        let around = front.len() + Head::end().len();
        let labels: usize = parts.iter().map(|part| part.label.len()).sum();
        let size = size + u64::try_from(around + labels).unwrap_or(u64::MAX);
        if size > limit {
            return Err(StateError::too_large(max_size));
        }
        Ok(Self {
            front,
            parts,
            size,
            generation: head.generation,
            digest: head.digest(),
        })
    }

    /// How many bytes the envelope has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The generation that whoever restores it will have at least.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// A SHA-256 over all participants' data, in hexadecimal: equal as long as the data
    /// comes out the same.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Writes the envelope. Blocks: call it where that is allowed. It writes in pieces
    /// of some kilobytes.
    ///
    /// # Errors
    ///
    /// What the writer returns; or that the data of a participant did not come out as
    /// long as the first time, and then what was written is of no use.
    pub fn write_to(&self, mut out: impl Write) -> io::Result<()> {
        out.write_all(self.front.as_bytes())?;
        for part in &self.parts {
            out.write_all(part.label.as_bytes())?;
            let mut exactly = Exactly {
                out: &mut out,
                left: part.length,
            };
            part.data.write(&mut exactly)?;
            if exactly.left > 0 {
                return Err(changed());
            }
        }
        out.write_all(Head::end().as_bytes())?;
        out.flush()
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("size", &self.size)
            .field("generation", &self.generation)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The length and the digest of data as it would be written.
pub(crate) fn length_and_digest(data: &dyn Snapshot) -> Result<(u64, String), StateError> {
    let mut measure = Measure::new(u64::MAX, None);
    data.write(&mut measure).map_err(StateError::internal)?;
    Ok(measure.finish())
}

/// Keeps nothing of what is written but its length and digest, and stops at the limits
/// that a restore will have.
struct Measure<'a> {
    digest: Sha256,
    length: u64,
    limit: u64,
    is_over: bool,
    nesting: Nesting,
    is_flat: bool,
    attempt: Option<&'a Attempt>,
}

impl<'a> Measure<'a> {
    fn new(limit: u64, attempt: Option<&'a Attempt>) -> Self {
        Self {
            digest: Sha256::new(),
            length: 0,
            limit,
            is_over: false,
            nesting: Nesting::default(),
            is_flat: true,
            attempt,
        }
    }

    fn is_abandoned(&self) -> bool {
        self.attempt.is_some_and(Attempt::is_abandoned)
    }

    fn why(&self, error: &serde_json::Error, max_size: usize) -> StateError {
        if self.is_over {
            StateError::too_large(max_size)
        } else if !self.is_flat {
            StateError::new(
                ErrorKind::Refused,
                "its data is nested too deeply, and could not be restored",
            )
        } else if self.is_abandoned() {
            StateError::new(ErrorKind::TimedOut, "nobody waits for it any more")
        } else {
            StateError::new(ErrorKind::Refused, error.to_string())
        }
    }

    fn finish(self) -> (u64, String) {
        (self.length, hex::encode(&self.digest.finalize()))
    }
}

impl Write for Measure<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.is_over = self.length.saturating_add(length) > self.limit;
        self.is_flat = self.nesting.accepts(bytes);
        if self.is_over || !self.is_flat || self.is_abandoned() {
            return Err(io::Error::other("stopped"));
        }
        self.length += length;
        self.digest.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets that many bytes through and no more: the length stands in the envelope already.
struct Exactly<W> {
    out: W,
    left: u64,
}

impl<W: Write> Write for Exactly<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(length).ok_or_else(changed)?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn changed() -> io::Error {
    io::Error::other("the data changed while it was being written")
}
