//! Parts of the state, and calls into them, which may fail, hang or panic.

use std::any::Any;
use std::future::{Future, ready};
use std::io::{BufReader, BufWriter, Read, Write};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tower_ops_core::panic;

use crate::envelope::Segments;
use crate::error::{ErrorKind, StateResult};

/// A part of the state, with a name and a schema of its own.
///
/// All methods run on a thread that may block, one after another, and never two at a time. A panic
/// in one is caught and counts as a [`Refusal`]. The [example of the crate](crate) has a participant.
///
/// # Cancel safety
///
/// The futures are dropped at the deadline of the capture or the restore, and never because of a
/// client. A commit that is dropped counts as an error.
pub trait Participant: Send + Sync + 'static {
    /// The state as a value of its own, which no longer changes. It is serialised twice, once for
    /// its length and digest, and must give the same text both times.
    type Data: Serialize + DeserializeOwned + Send + 'static;

    /// Returns the name of the state in an envelope: 1 to 64 of `a-z A-Z 0-9 _ - .`. Keep it for as
    /// long as there are envelopes with it.
    fn name(&self) -> &str;

    /// Returns the version of the schema of [`Data`](Self::Data). Increment it when older data can
    /// no longer be decoded, and write [`migrate`](Self::migrate).
    fn version(&self) -> u32;

    /// Takes the state of this moment. Costs a copy, except for what can be shared, as in an `Arc`.
    /// Hold a lock for as short as you can.
    ///
    /// # Errors
    ///
    /// If it cannot be taken, with the reason.
    fn capture(&self) -> impl Future<Output = Result<Self::Data, Refusal>>;

    /// Checks whether the data can be committed, and changes nothing. All participants prepare
    /// before the first one commits. Accepts everything by default.
    ///
    /// # Errors
    ///
    /// If it cannot be committed, with the reason. Then no participant commits.
    fn prepare(&self, data: &Self::Data) -> impl Future<Output = Result<(), Refusal>> {
        let _ = data;
        ready(Ok(()))
    }

    /// Converts data of an older schema version, given as JSON text, to that of today. Newer
    /// versions are refused without a call. Refuses everything by default.
    ///
    /// # Errors
    ///
    /// If that version is no longer supported, with the reason.
    fn migrate(&self, version: u32, json: &str) -> Result<Self::Data, Refusal> {
        let _ = json;
        Err(Refusal::new(format!(
            "there is no migration from version {version}"
        )))
    }

    /// Replaces the state by the data: all of it or, on an error, as little as possible. After an
    /// error this participant, and those that have committed, are given what they had captured just
    /// before.
    ///
    /// # Errors
    ///
    /// If it cannot, with the reason. Then all participants are rolled back.
    fn commit(&self, data: Self::Data) -> impl Future<Output = Result<(), Refusal>>;
}

/// Why a participant refuses. The client receives the reason; logs and metrics do not contain it.
///
/// Every error becomes a refusal with `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: String,
}

impl Refusal {
    /// Refuses, with a reason for the client.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

// `Refusal` does not implement `Error`, or this would conflict with `From<T> for T`.
impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// The data of a participant without its type.
pub(crate) type Data = Box<dyn Snapshot>;

pub(crate) trait Snapshot: Any + Send {
    fn write(&self, out: &mut dyn Write) -> serde_json::Result<()>;
}

impl<T: Serialize + Send + 'static> Snapshot for T {
    fn write(&self, out: &mut dyn Write) -> serde_json::Result<()> {
        // serde_json writes small pieces, and each would be a call through `dyn`.
        let mut out = BufWriter::with_capacity(16 * 1024, out);
        serde_json::to_writer(&mut out, self)?;
        out.flush().map_err(serde_json::Error::io)
    }
}

/// A participant without its type. All calls are isolated.
pub(crate) trait ErasedParticipant: Send + Sync {
    fn name(&self) -> &str;
    fn version(&self) -> u32;
    fn capture(&self, isolated: &Isolated) -> StateResult<Data>;
    /// Decodes, migrates and validates.
    fn prepare(&self, isolated: &Isolated, version: u32, json: Segments) -> StateResult<Data>;
    fn commit(&self, isolated: &Isolated, data: Data) -> StateResult<()>;
}

impl<P: Participant> ErasedParticipant for P {
    fn name(&self) -> &str {
        Participant::name(self)
    }

    fn version(&self) -> u32 {
        Participant::version(self)
    }

    fn capture(&self, isolated: &Isolated) -> StateResult<Data> {
        isolated.call(Participant::name(self), async {
            let data = Participant::capture(self).await?;
            Ok(Box::new(data) as Data)
        })
    }

    fn prepare(&self, isolated: &Isolated, version: u32, mut json: Segments) -> StateResult<Data> {
        isolated.call(Participant::name(self), async move {
            let data = if version == Participant::version(self) {
                decode(json)?
            } else {
                let mut text = String::with_capacity(json.len());
                json.read_to_string(&mut text)?;
                self.migrate(version, &text)?
            };
            Participant::prepare(self, &data).await?;
            Ok(Box::new(data) as Data)
        })
    }

    fn commit(&self, isolated: &Isolated, data: Data) -> StateResult<()> {
        isolated.call(Participant::name(self), async {
            let data: Box<dyn Any> = data;
            match data.downcast::<P::Data>() {
                Ok(data) => Participant::commit(self, *data).await,
                // Not reached: a participant gets only data that it made itself.
                Err(_) => Err(Refusal::new("the data belongs to another participant")),
            }
        })
    }
}

fn decode<T: DeserializeOwned>(json: Segments) -> serde_json::Result<T> {
    match json.as_contiguous() {
        Some(slice) => serde_json::from_slice(slice),
        // Slower than from one slice, but each segment is freed as soon as it was read.
        None => serde_json::from_reader(BufReader::new(json)),
    }
}

/// The only participant of a state that is one value: a getter and a setter.
pub(crate) struct Single<T, G, S> {
    pub(crate) getter: G,
    pub(crate) setter: S,
    pub(crate) data: PhantomData<fn() -> T>,
}

impl<T, G, S> Participant for Single<T, G, S>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    G: Fn() -> T + Send + Sync + 'static,
    S: Fn(T) -> Result<(), Refusal> + Send + Sync + 'static,
{
    type Data = T;

    fn name(&self) -> &'static str {
        "state"
    }

    fn version(&self) -> u32 {
        1
    }

    async fn capture(&self) -> Result<T, Refusal> {
        Ok((self.getter)())
    }

    async fn commit(&self, data: T) -> Result<(), Refusal> {
        (self.setter)(data)
    }
}

/// Makes isolated calls: whatever a participant does, the caller gets a result until the deadline,
/// unless the participant blocks its thread. For a thread that may block.
pub(crate) struct Isolated {
    runtime: Handle,
    deadline: Instant,
}

impl Isolated {
    pub(crate) fn until(deadline: Instant) -> Self {
        let runtime = Handle::current();
        Self { runtime, deadline }
    }

    /// Waits for a future. A panic counts as a refusal.
    fn call<T>(
        &self,
        name: &str,
        future: impl Future<Output = Result<T, Refusal>>,
    ) -> StateResult<T> {
        let called = panic::catch(|| self.wait("it took too long", future));
        let error = match called {
            Ok(Ok(Ok(done))) => return Ok(done),
            Ok(Ok(Err(refusal))) => ErrorKind::Refused.error(refusal.reason()),
            Ok(Err(late)) => late,
            Err(panic) => {
                ErrorKind::Refused.error(format!("it panicked: {}", panic::text(&*panic)))
            }
        };
        Err(error.with_participant(name))
    }

    /// Waits for a future. `late` is the error at the deadline.
    pub(crate) fn wait<T>(&self, late: &str, future: impl Future<Output = T>) -> StateResult<T> {
        let waited = async { timeout_at(self.deadline, future).await };
        let waited = self.runtime.block_on(waited);
        waited.map_err(|_| ErrorKind::TimedOut.error(late))
    }
}
