use std::fmt;
use std::future::{Future, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A part of the state, with a name and a schema of its own.
///
/// All methods run on a thread that may block, one after another, and never two at a
/// time. A panic in one is caught and counts as a [`Refusal`].
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use tower_ops_state::{Participant, Refusal};
///
/// #[derive(Clone, Default)]
/// struct Counters(Arc<Mutex<BTreeMap<String, u64>>>);
///
/// impl Participant for Counters {
///     type Data = BTreeMap<String, u64>;
///
///     fn name(&self) -> &str {
///         "counters"
///     }
///
///     fn version(&self) -> u32 {
///         1
///     }
///
///     async fn capture(&self) -> Result<Self::Data, Refusal> {
///         Ok(self.0.lock().unwrap().clone())
///     }
///
///     async fn commit(&self, data: Self::Data) -> Result<(), Refusal> {
///         *self.0.lock().unwrap() = data;
///         Ok(())
///     }
/// }
/// ```
pub trait Participant: Send + Sync + 'static {
    /// The state as a value of its own, which no longer changes. It is serialised
    /// twice, once for its length and digest, and must come out the same both times.
    type Data: Serialize + DeserializeOwned + Send + 'static;

    /// The name that the state has in an envelope: 1 to 64 of `a-z A-Z 0-9 _ - .`, and
    /// the same for as long as there are envelopes with it.
    fn name(&self) -> &str;

    /// The version of the schema of [`Data`](Self::Data). Add one when it changes so
    /// that the data of before cannot be read, and write [`migrate`](Self::migrate).
    fn version(&self) -> u32;

    /// Takes the state as it is now. Costs what a copy costs: what can be shared, as
    /// in an `Arc`, need not be copied. Hold a lock for as short as you can.
    ///
    /// # Errors
    ///
    /// If it cannot be taken, with the reason.
    ///
    /// # Cancel safety
    ///
    /// Dropped at the deadline for captures.
    fn capture(&self) -> impl Future<Output = Result<Self::Data, Refusal>>;

    /// Looks whether the data can be committed, and changes nothing. All participants
    /// prepare before the first one commits. Accepts all by default.
    ///
    /// # Errors
    ///
    /// If it cannot, with the reason; then no participant commits.
    ///
    /// # Cancel safety
    ///
    /// Dropped at the deadline for restoring.
    fn prepare(&self, data: &Self::Data) -> impl Future<Output = Result<(), Refusal>> {
        let _ = data;
        ready(Ok(()))
    }

    /// Makes today's data of data with an older schema version, given as JSON text.
    /// Newer versions are refused before this is called. Refuses all by default.
    ///
    /// # Errors
    ///
    /// If that version cannot be read any more, with the reason.
    fn migrate(&self, version: u32, json: &str) -> Result<Self::Data, Refusal> {
        let _ = json;
        Err(Refusal::new(format!(
            "there is no migration from version {version}"
        )))
    }

    /// Replaces the state by the data. All of it or, on an error, as little as
    /// possible: then the participants that have committed, and this one, are given
    /// what they had captured just before.
    ///
    /// # Errors
    ///
    /// If it cannot, with the reason; then all participants are rolled back.
    ///
    /// # Cancel safety
    ///
    /// Dropped at the deadline for restoring, which counts as an error. Nothing that
    /// a client does drops it.
    fn commit(&self, data: Self::Data) -> impl Future<Output = Result<(), Refusal>>;
}

/// Why a participant does not do what it was asked to. The client that asked gets to
/// read it; logs and metrics do not have it.
///
/// Every error becomes one with `?`.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    reason: String,
}

impl Refusal {
    /// With the reason, in words for whoever asked.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refusal").field(&self.reason).finish()
    }
}

// `Refusal` is no error itself, or this would be two conversions into one.
impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}
