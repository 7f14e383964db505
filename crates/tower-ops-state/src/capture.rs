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
use crate::fence::Pause;
use crate::participant::{ErasedParticipant, Isolated, Snapshot};
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
        if self.fence.is_handed_over() {
            return Err(StateError::handed_over());
        }
        let late = "the writes that had begun did not end in time; nothing was handed over";
        isolated.wait(late, self.fence.pause())
    }

    fn capture_isolated(
        &self,
        isolated: &Isolated,
        hand_over: bool,
        gate: &CommitGate,
    ) -> Result<Capture, StateError> {
        let mut taken = Vec::with_capacity(self.settings.participants.len());
        for participant in &self.settings.participants {
            taken.push((&**participant, participant.capture(isolated)?));
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
        taken: Vec<(&dyn ErasedParticipant, Box<dyn Snapshot>)>,
        gate: &CommitGate,
    ) -> Result<Capture, StateError> {
        let limit = self.settings.max_size;
        let mut parts = Vec::with_capacity(taken.len());
        let mut size = 0;
        for (participant, data) in taken {
            let name = participant.name();
            let label = Head::label(name, parts.is_empty());
            let measured = Measure::of(&*data, size, limit, gate);
            let (length, sha256) = measured.map_err(|error| error.with_participant(name))?;
            size += length;
            head.participants.push(Entry {
                name: name.to_owned(),
                version: participant.version(),
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
        if size > limit as u64 {
            return Err(StateError::too_large(limit));
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

/// Keeps only the length and the digest of what is written, and stops at the limits that a restore
/// will have.
pub(crate) struct Measure<'a> {
    digest: Sha256,
    length: u64,
    /// What may still be written.
    room: u64,
    max_size: usize,
    nesting: Nesting,
    gate: &'a CommitGate,
    stopped: Option<StateError>,
}

impl<'a> Measure<'a> {
    /// Returns the length and the digest of the data. `before` bytes are in front of it.
    pub(crate) fn of(
        data: &dyn Snapshot,
        before: u64,
        max_size: usize,
        gate: &'a CommitGate,
    ) -> Result<(u64, String), StateError> {
        let mut measure = Self {
            digest: Sha256::new(),
            length: 0,
            room: (max_size as u64).saturating_sub(before),
            max_size,
            nesting: Nesting::default(),
            gate,
            stopped: None,
        };
        match data.write(&mut measure) {
            Ok(()) => Ok((measure.length, hex(measure.digest))),
            Err(error) => {
                let refused = || ErrorKind::Refused.error(error.to_string());
                Err(measure.stopped.unwrap_or_else(refused))
            }
        }
    }
}

impl Write for Measure<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.stopped = if self.length > self.room {
            Some(StateError::too_large(self.max_size))
        } else if !self.nesting.accepts(bytes) {
            let text = "its data is nested too deeply, and could not be restored";
            Some(ErrorKind::Refused.error(text))
        } else if self.gate.is_abandoned() {
            Some(StateError::abandoned())
        } else {
            self.digest.update(bytes);
            return Ok(bytes.len());
        };
        Err(io::Error::other("stopped"))
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
