//! Ten thousand envelopes that no capture wrote: no panic, nothing restored by half, and no
//! more memory than the limit and a mebibyte. One test, so that nothing else allocates.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use peak_alloc::PeakAlloc;
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;
use tower_ops_state::{Participant, Refusal, State};

use self::mutations::{
    Bombs, COUNTERS, JOBS, Random, envelope, garbled, gzip, ill_typed, lying, nested, number,
};

#[path = "support/mutations.rs"]
mod mutations;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const TOKEN: &str = "0123456789abcdef";
const SMALL: usize = 256 * 1024;
const LARGE: usize = 8 * 1024 * 1024;
const SLACK: usize = 1024 * 1024;
const MUTATIONS: usize = 10_000;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Job {
    id: u64,
    name: String,
    weight: f64,
    #[serde(default)]
    tags: Vec<Option<String>>,
}

/// Counts how often it was committed.
#[derive(Default)]
struct Kept<T> {
    value: Mutex<T>,
    commits: Mutex<usize>,
}

struct Part<T>(&'static str, Arc<Kept<T>>);

impl<T> Participant for Part<T>
where
    T: Clone + Serialize + for<'de> Deserialize<'de> + Send + 'static,
{
    type Data = T;

    fn name(&self) -> &str {
        self.0
    }

    fn version(&self) -> u32 {
        1
    }

    async fn capture(&self) -> Result<T, Refusal> {
        Ok(self.1.value.lock().unwrap().clone())
    }

    async fn commit(&self, data: T) -> Result<(), Refusal> {
        *self.1.value.lock().unwrap() = data;
        *self.1.commits.lock().unwrap() += 1;
        Ok(())
    }
}

type Counters = BTreeMap<String, u64>;

struct Victim {
    counters: Arc<Kept<Counters>>,
    jobs: Arc<Kept<Vec<Job>>>,
    state: State,
    limit: usize,
}

impl Victim {
    fn new(limit: usize) -> Self {
        let (counters, jobs) = (
            Arc::<Kept<Counters>>::default(),
            Arc::<Kept<Vec<Job>>>::default(),
        );
        let state = State::builder("shop", "1")
            .instance("victim")
            .participant(Part("counters", Arc::clone(&counters)))
            .participant(Part("jobs", Arc::clone(&jobs)))
            .token(TOKEN)
            .restore_when(|| true)
            .max_size(limit)
            .build()
            .unwrap();
        let victim = Self {
            counters,
            jobs,
            state,
            limit,
        };
        victim.reset();
        victim
    }

    fn reset(&self) {
        *self.counters.value.lock().unwrap() =
            (0..20).map(|at| (format!("counter {at}"), at)).collect();
        *self.jobs.value.lock().unwrap() = (0..20)
            .map(|id| Job {
                id,
                name: format!("job \"{id}\" \u{1f980}"),
                weight: 0.5,
                tags: vec![None, Some("x".to_owned())],
            })
            .collect();
    }

    fn now(&self) -> (Counters, Vec<Job>) {
        let counters = self.counters.value.lock().unwrap().clone();
        (counters, self.jobs.value.lock().unwrap().clone())
    }

    fn commits(&self) -> (usize, usize) {
        let counters = *self.counters.commits.lock().unwrap();
        (counters, *self.jobs.commits.lock().unwrap())
    }

    /// Restores, and returns the status and the memory that it took.
    async fn suffers(&self, body: Bytes, is_gzip: bool) -> (StatusCode, usize) {
        let (before, commits) = (self.now(), self.commits());
        let mut request = Request::post("/state")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json");
        if is_gzip {
            request = request.header("content-encoding", "gzip");
        }
        let request = request.body(Full::new(body)).unwrap();
        let held = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let Ok(response) = self.state.service().oneshot(request).await;
        let status = response.status();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let peak = ALLOCATOR.peak_usage().saturating_sub(held);

        assert!(
            status == 200 || status.is_client_error(),
            "{status}: {text:?}"
        );
        assert!(!text.windows(8).any(|part| part == b"panicked"), "{text:?}");
        assert!(
            peak <= self.limit + SLACK,
            "{peak} bytes, with a limit of {}: {status}: {text:?}",
            self.limit
        );
        if status == 200 {
            assert_eq!(self.commits(), (commits.0 + 1, commits.1 + 1));
            self.reset();
        } else {
            assert_eq!(self.commits(), commits, "{status}: {text:?}");
            assert!(self.now() == before, "{status}: {text:?}");
        }
        (status, peak)
    }
}

#[test]
fn mutated_envelopes_change_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (small, large) = (Victim::new(SMALL), Victim::new(LARGE));
        let mut good = Vec::new();
        let capture = small.state.capture().await.unwrap();
        capture.write_to(&mut good).unwrap();
        let (status, _) = small.suffers(good.clone().into(), false).await;
        assert_eq!(status, 200, "the good one");
        let (status, _) = small.suffers(envelope(COUNTERS, JOBS).into(), false).await;
        assert_eq!(status, 200, "an envelope with right digests");
        let bombs = Bombs::new(&good);
        let packed = gzip(&good);
        // The blocking thread and what else is made once is there now.
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let mut by_status = BTreeMap::<u16, usize>::new();
        let mut peaks = [0, 0];
        for mutation in 0..MUTATIONS {
            let kind = mutation % 20;
            let (bytes, is_gzip) = match kind {
                0..=8 => (garbled(&mut random, &good), false),
                9 | 10 => (garbled(&mut random, &packed), true),
                11 | 12 => (nested(&mut random).into(), false),
                13 | 14 => (number(&mut random).into(), false),
                15 | 16 => (ill_typed(&mut random).into(), false),
                17 | 18 => (lying(&mut random).into(), false),
                _ => (bombs.one(&mut random), true),
            };
            let is_large = kind == 19 && mutation % 400 == 19;
            let victim = if is_large { &large } else { &small };
            let (status, peak) = victim.suffers(bytes.into(), is_gzip).await;
            *by_status.entry(status.as_u16()).or_default() += 1;
            let peaks = &mut peaks[usize::from(is_large)];
            *peaks = peak.max(*peaks);
        }
        eprintln!("{MUTATIONS} mutations by status: {by_status:?}");
        eprintln!(
            "peak memory: {} of {} KiB, {} of {} KiB",
            peaks[0] / 1024,
            (SMALL + SLACK) / 1024,
            peaks[1] / 1024,
            (LARGE + SLACK) / 1024,
        );
        for status in [200, 400, 413, 422] {
            assert!(by_status[&status] > 50, "{by_status:?}");
        }
    });
}
