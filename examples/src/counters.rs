use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tower_ops_state::{Participant, Refusal};

/// How many there may be: a client names them.
const MOST: usize = 10_000;
/// How many bytes a name may have.
const LONGEST: usize = 64;

/// Counters by name: what a service would lose with its process.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    counted: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Counters {
    /// Adds one and returns the new count; `None` if the name is too long, or there are too
    /// many.
    #[must_use]
    pub fn add(&self, name: &str) -> Option<u64> {
        let mut counted = self.lock();
        let is_new = !counted.contains_key(name);
        if name.len() > LONGEST || (is_new && counted.len() >= MOST) {
            return None;
        }
        let count = counted.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        Some(*count)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Participant for Counters {
    type Data = BTreeMap<String, u64>;

    fn name(&self) -> &str {
        "counters"
    }

    fn version(&self) -> u32 {
        1
    }

    async fn capture(&self) -> Result<Self::Data, Refusal> {
        Ok(self.all())
    }

    async fn prepare(&self, data: &Self::Data) -> Result<(), Refusal> {
        if data.len() > MOST || data.keys().any(|name| name.len() > LONGEST) {
            return Err(Refusal::new(format!(
                "there may be {MOST} counters, with names of {LONGEST} bytes"
            )));
        }
        Ok(())
    }

    async fn commit(&self, data: Self::Data) -> Result<(), Refusal> {
        *self.lock() = data;
        Ok(())
    }
}
