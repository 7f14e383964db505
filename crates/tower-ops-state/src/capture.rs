//! A capture: taken from the participants, measured, and written as an envelope.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};
use tower_ops_core::panic;

use crate::envelope::{END, Entry, Head, Nesting, hex};
use crate::error::{ErrorKind, StateError, StateResult};
use crate::fence::Pause;
use crate::participant::{Data, Isolated, Snapshot};
use crate::restore::{AbandonOnDrop, CommitGate};
use crate::state::{Permit, StateInner, spawn};

/// The state of one moment, to be written wherever it is needed. Made by
/// [`State::capture`](crate::State::capture).
///
/// It holds the data of the participants, and not the text. The text is made each time it is
/// written, in pieces, and is never in memory as a whole.
pub struct Capture {
    head: Head,
    front: String,
    /// In the order of `head.participants`.
    data: Vec<Data>,
    size: u64,
    digest: String,
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
        self.head.generation
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
        for (at, (entry, data)) in self.head.participants.iter().zip(&self.data).enumerate() {
            out.write_all(Head::label(&entry.name, at == 0).as_bytes())?;
            let mut exactly = Exactly {
                out: &mut out,
                left: entry.length,
            };
            data.write(&mut exactly)?;
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
            .field("generation", &self.head.generation)
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
    ) -> StateResult<Captured> {
        self.check_participants()?;
        let gate = CommitGate::default();
        let allowed = self.settings.capture_timeout;
        let deadline = Instant::now() + allowed;
        let _abandon = AbandonOnDrop(gate.clone());
        let (inner, isolated) = (Arc::clone(self), Isolated::until(deadline));
        let running = spawn(move || {
            let pause = hand_over.then(|| inner.pause_writes(&isolated));
            let pause = pause.transpose()?;
            let capture = inner.capture_isolated(&isolated, hand_over, &gate)?;
            let hand_over = HandOver {
                pause,
                _permit: permit,
            };
            Ok(Captured { capture, hand_over })
        })?;
        timeout_at(deadline, running).await.unwrap_or_else(|_| {
            Err(ErrorKind::TimedOut.error(format!("the capture took longer than {allowed:?}")))
        })
    }

    fn pause_writes(&self, isolated: &Isolated) -> StateResult<Pause> {
        if self.fence.is_handed_over() {
            return Err(StateError::handed_over());
        }
        let late = "the writes that had begun did not end in time; nothing was handed over";
        isolated.wait(late, self.fence.pause())
    }

    /// Takes the data of all participants, and then serialises it once for its lengths and digests.
    fn capture_isolated(
        &self,
        isolated: &Isolated,
        hand_over: bool,
        gate: &CommitGate,
    ) -> StateResult<Capture> {
        let (settings, limit) = (&self.settings, self.settings.max_size);
        let data = settings.participants.iter().map(|it| it.capture(isolated));
        let data = data.collect::<StateResult<Vec<_>>>()?;
        let mut entries = Vec::with_capacity(data.len());
        let mut size = END.len() as u64;
        for (participant, data) in settings.participants.iter().zip(&data) {
            let name = participant.name();
            size += Head::label(name, entries.is_empty()).len() as u64;
            let measured = Measure::of(&**data, size, limit, gate);
            let (length, sha256) = measured.map_err(|error| error.with_participant(name))?;
            size += length;
            entries.push(Entry {
                name: name.to_owned(),
                version: participant.version(),
                length,
                sha256,
            });
        }
        let generation = self.fence.generation();
        let head = Head {
            application: settings.application.clone(),
            application_version: settings.version.clone(),
            instance: self.instance.clone(),
            generation: generation.saturating_add(u64::from(hand_over)),
            created: SystemTime::now(),
            participants: entries,
        };
        let front = head.front(self.signing_key.as_ref());
        let front = front.map_err(StateError::internal)?;
        size += front.len() as u64;
        if size > limit as u64 {
            return Err(StateError::too_large(limit));
        }
        Ok(Capture {
            digest: head.digest(),
            head,
            front,
            data,
            size,
        })
    }
}

/// Keeps only the length and the digest of what is written, and stops at the limits that a restore
/// will have.
pub(crate) struct Measure<'a> {
    digest: Sha256,
    /// How long the envelope is until here.
    length: u64,
    limit: usize,
    nesting: Nesting,
    gate: &'a CommitGate,
    stopped: Option<StateError>,
}

impl<'a> Measure<'a> {
    /// Returns the length and the digest of the data. `before` bytes are in front of it.
    pub(crate) fn of(
        data: &dyn Snapshot,
        before: u64,
        limit: usize,
        gate: &'a CommitGate,
    ) -> StateResult<(u64, String)> {
        let mut measure = Self {
            digest: Sha256::new(),
            length: before,
            limit,
            nesting: Nesting::default(),
            gate,
            stopped: None,
        };
        // Serialising runs code of the application.
        let problem = match panic::catch(|| data.write(&mut measure)) {
            Ok(Ok(())) => return Ok((measure.length - before, hex(measure.digest))),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("serialising panicked: {}", panic::text(&*panic)),
        };
        let refused = || ErrorKind::Refused.error(problem);
        Err(measure.stopped.unwrap_or_else(refused))
    }
}

impl Write for Measure<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.stopped = if self.length > self.limit as u64 {
            Some(StateError::too_large(self.limit))
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
