//! A capture: taken from the participants, measured, and written as an envelope.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tower_ops_core::panic;

use crate::envelope::{END, Entry, Head, Nesting, hex};
use crate::error::{ErrorKind, StateError};
use crate::fence::{Pause, Purpose};
use crate::participant::{Isolated, Snapshot};
use crate::restore::CommitGate;
use crate::state::{Permit, StateInner, spawn};

/// The state of one moment, to be written wherever it is needed. Made by
/// [`State::capture`](crate::State::capture).
///
/// It holds the data of the participants, and not the text. The text is made each time it is
/// written, in pieces, and is never in memory as a whole.
pub struct Capture {
    front: String,
    parts: Vec<Part>,
    size: u64,
    generation: u64,
    digest: String,
}

struct Part {
    label: String,
    data: Box<dyn Snapshot>,
    length: u64,
}

impl Capture {
    /// Returns the size of the envelope in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the generation in the envelope, which the instance that restores it has at least.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns a SHA-256 over the data of all participants, in hexadecimal. It stays the same while
    /// the data gives the same text.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Writes the envelope, in pieces of some kilobytes. Blocks the thread while it serialises.
    ///
    /// # Errors
    ///
    /// The errors of the writer; or that the data of a participant did not have the same length as
    /// the first time. Then what was written is of no use.
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
        out.write_all(END.as_bytes())?;
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

/// A capture, and what it holds until it is written.
pub(crate) struct Captured {
    pub(crate) capture: Capture,
    pub(crate) hand_over: HandOver,
}

/// Keeps other operations out and, for a hand-over, writes. If it is dropped, nothing is handed
/// over.
pub(crate) struct HandOver {
    pause: Option<Pause>,
    _permit: Permit,
}

impl HandOver {
    pub(crate) fn commit(self) {
        if let Some(pause) = self.pause {
            pause.hand_over();
        }
    }
}

impl StateInner {
    /// Captures on a thread of its own. If the future is dropped, the capture stops as soon as the
    /// participant that is being called returns.
    pub(crate) async fn capture(
        self: &Arc<Self>,
        permit: Permit,
        hand_over: bool,
    ) -> Result<Captured, StateError> {
        self.check_participants()?;
        let gate = CommitGate::default();
        let deadline = Instant::now() + self.settings.capture_timeout;
        let _abandon = gate.abandon_on_drop();
        let (inner, waits) = (Arc::clone(self), gate.clone());
        let isolated = Isolated::new(Handle::current(), deadline);
        let running = spawn(move || {
            let pause = hand_over
                .then(|| inner.pause_writes(&isolated))
                .transpose()?;
            let capture = inner.capture_isolated(&isolated, hand_over, &waits)?;
            let hand_over = HandOver {
                pause,
                _permit: permit,
            };
            Ok(Captured { capture, hand_over })
        })?;
        tokio::select! {
            biased;
            captured = running => captured.map_err(StateError::internal)?,
            () = sleep_until(deadline) => Err(ErrorKind::TimedOut.error(format!("the capture took longer than {:?}", self.settings.capture_timeout),
            )),
        }
    }

    fn pause_writes(&self, isolated: &Isolated) -> Result<Pause, StateError> {
        let late = "the writes that had begun did not end in time; nothing was handed over";
        isolated.wait(late, self.fence.pause(Purpose::HandOver))
    }

    fn capture_isolated(
        &self,
        isolated: &Isolated,
        hand_over: bool,
        gate: &CommitGate,
    ) -> Result<Capture, StateError> {
        let mut taken = Vec::with_capacity(self.settings.participants.len());
        for participant in &self.settings.participants {
            let name = participant.name();
            let data = isolated.call(name, || participant.capture())?;
            taken.push((name, participant.version(), data));
        }
        let generation = self.fence.generation();
        let head = Head {
            application: self.settings.application.clone(),
            application_version: self.settings.version.clone(),
            instance: self.instance.clone(),
            generation: generation.saturating_add(u64::from(hand_over)),
            created: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            participants: Vec::with_capacity(taken.len()),
        };
        // Serialising runs code of the application.
        let measured = panic::catch(|| self.measure(head, taken, gate));
        measured.unwrap_or_else(|payload| {
            let text = format!("serialising panicked: {}", panic::text(&*payload));
            Err(ErrorKind::Refused.error(text))
        })
    }

    /// Serialises everything once, for the lengths and the digests.
    fn measure(
        &self,
        mut head: Head,
        taken: Vec<(&str, u32, Box<dyn Snapshot>)>,
        gate: &CommitGate,
    ) -> Result<Capture, StateError> {
        let max_size = self.settings.max_size;
        let limit = max_size as u64;
        let mut parts = Vec::with_capacity(taken.len());
        let mut size = 0;
        for (name, version, data) in taken {
            let label = Head::label(name, parts.is_empty());
            let mut measure = Measure::new(limit - size, Some(gate));
            if let Err(error) = data.write(&mut measure) {
                return Err(measure.reason(&error, max_size).with_participant(name));
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
        let key = self.signing_key.as_ref();
        let front = head.front(key).map_err(StateError::internal)?;
        let labels: usize = parts.iter().map(|part| part.label.len()).sum();
        let size = size + (front.len() + labels + END.len()) as u64;
        if size > limit {
            return Err(StateError::too_large(max_size));
        }
        Ok(Capture {
            front,
            parts,
            size,
            generation: head.generation,
            digest: head.digest(),
        })
    }
}

/// Returns the length and the digest that the data has when it is written.
pub(crate) fn length_and_digest(data: &dyn Snapshot) -> Result<(u64, String), StateError> {
    let mut measure = Measure::new(u64::MAX, None);
    data.write(&mut measure).map_err(StateError::internal)?;
    Ok(measure.finish())
}

/// Keeps only the length and the digest of what is written, and stops at the limits that a restore
/// will have.
struct Measure<'a> {
    digest: Sha256,
    length: u64,
    limit: u64,
    is_over: bool,
    nesting: Nesting,
    is_flat: bool,
    gate: Option<&'a CommitGate>,
}

impl<'a> Measure<'a> {
    fn new(limit: u64, gate: Option<&'a CommitGate>) -> Self {
        Self {
            digest: Sha256::new(),
            length: 0,
            limit,
            is_over: false,
            nesting: Nesting::default(),
            is_flat: true,
            gate,
        }
    }

    fn is_abandoned(&self) -> bool {
        self.gate.is_some_and(CommitGate::is_abandoned)
    }

    fn reason(&self, error: &serde_json::Error, max_size: usize) -> StateError {
        if self.is_over {
            return StateError::too_large(max_size);
        }
        if self.is_abandoned() {
            return StateError::abandoned();
        }
        let text = if self.is_flat {
            error.to_string()
        } else {
            "its data is nested too deeply, and could not be restored".to_owned()
        };
        ErrorKind::Refused.error(text)
    }

    fn finish(self) -> (u64, String) {
        (self.length, hex(self.digest))
    }
}

impl Write for Measure<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.length.saturating_add(bytes.len() as u64);
        self.is_over = length > self.limit;
        self.is_flat = self.nesting.accepts(bytes);
        if self.is_over || !self.is_flat || self.is_abandoned() {
            return Err(io::Error::other("stopped"));
        }
        self.length = length;
        self.digest.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets exactly that many bytes pass: the envelope already has the length.
struct Exactly<W> {
    out: W,
    left: u64,
}

impl<W: Write> Write for Exactly<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(changed)?;
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
