//! Whatever is given to a restore: no panic, and all participants or none.
//!
//! ```text
//! cd crates/tower-ops-state && cargo +nightly fuzz run restore
//! ```
//!
//! The digests would stop nearly every input at once. So each input is also the data of
//! an envelope that is right otherwise.
#![no_main]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use tower_ops_state::{Participant, Refusal, Restore, State};

type Counters = BTreeMap<String, Vec<Option<f64>>>;

struct Part {
    name: &'static str,
    commits: Arc<AtomicU32>,
}

impl Participant for Part {
    type Data = Counters;

    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> u32 {
        1
    }

    async fn capture(&self) -> Result<Counters, Refusal> {
        Ok(Counters::new())
    }

    async fn commit(&self, _: Counters) -> Result<(), Refusal> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What is attacked, and who writes the envelopes for it.
struct Victim {
    runtime: Runtime,
    state: State,
    commits: [Arc<AtomicU32>; 2],
    forger: State,
    text: Arc<Mutex<String>>,
}

static VICTIM: LazyLock<Victim> = LazyLock::new(|| {
    let commits = [Arc::<AtomicU32>::default(), Arc::default()];
    let part = |at: usize| Part {
        name: ["a", "b"][at],
        commits: Arc::clone(&commits[at]),
    };
    let state = State::builder("fuzz", "1").participant(part(0)).participant(part(1));
    let text = Arc::<Mutex<String>>::default();
    let forger = State::builder("fuzz", "1")
        .participant(Forged("a", Arc::clone(&text)))
        .participant(Forged("b", Arc::clone(&text)));
    Victim {
        runtime: Builder::new_current_thread().enable_all().build().unwrap(),
        state: state.build().unwrap(),
        commits,
        forger: forger.build().unwrap(),
        text,
    }
});

struct Forged(&'static str, Arc<Mutex<String>>);

impl Participant for Forged {
    type Data = Box<serde_json::value::RawValue>;

    fn name(&self) -> &str {
        self.0
    }

    fn version(&self) -> u32 {
        1
    }

    async fn capture(&self) -> Result<Self::Data, Refusal> {
        let text = self.1.lock().unwrap().clone();
        Ok(serde_json::value::RawValue::from_string(text)?)
    }

    async fn commit(&self, _: Self::Data) -> Result<(), Refusal> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let victim = &*VICTIM;
    victim.runtime.block_on(async {
        restore(victim, data.to_owned()).await;
        let Ok(text) = str::from_utf8(data) else {
            return;
        };
        *victim.text.lock().unwrap() = text.to_owned();
        if let Ok(capture) = victim.forger.capture().await {
            let mut envelope = Vec::new();
            capture.write_to(&mut envelope).unwrap();
            restore(victim, envelope).await;
        }
    });
});

async fn restore(victim: &Victim, envelope: Vec<u8>) {
    let counts = || victim.commits.each_ref().map(|commits| commits.load(Ordering::SeqCst));
    let before = counts();
    let restored = victim.state.restore(envelope, Restore::new()).await;
    let more = u32::from(restored.is_ok());
    assert_eq!(counts(), before.map(|count| count + more));
    if let Err(error) = restored {
        assert!(!error.message().contains("panicked"), "{error}");
    }
}
