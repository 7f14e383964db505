//! Ten thousand envelopes that nobody wrote: no panic, nothing restored by half, and no
//! more memory than the limit and a mebibyte. One test, so that nothing else allocates.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use peak_alloc::PeakAlloc;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;
use tower_ops_state::{Participant, Refusal, State};

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

    /// Restores, and says with which status and how much memory.
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

/// Xorshift: the same each time, and enough of it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An envelope with whatever data, and right digests: as somebody writes it who has the
/// token and means no good.
fn sealed(counters: &str, jobs: &str) -> String {
    sealed_with(counters, jobs, |entries| entries)
}

fn sealed_with(counters: &str, jobs: &str, change: impl FnOnce(String) -> String) -> String {
    let entry = |name: &str, data: &str| {
        let sum = hex(&Sha256::digest(data));
        let length = data.len();
        format!(r#"{{"name":"{name}","version":1,"length":{length},"sha256":"{sum}"}}"#)
    };
    let entries = format!("{},{}", entry("counters", counters), entry("jobs", jobs));
    let head = change(format!(
        r#"{{"application":"shop","application_version":"1","instance":"x","generation":0,"created":"2026-11-21T00:00:00Z","participants":[{entries}]}}"#
    ));
    let sum = hex(&Sha256::digest(&head));
    format!(
        r#"{{"format":"tower-ops-state","version":1,"head":{head},"sha256":"{sum}","data":{{"counters":{counters},"jobs":{jobs}}}}}"#
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const COUNTERS: &str = r#"{"a":1,"b":2}"#;
const JOBS: &str = r#"[{"id":1,"name":"one","weight":1.5}]"#;

fn nested(random: &mut Random) -> String {
    let depth = [10, 100, 119, 121, 127, 128, 129, 5_000, 50_000][random.below(9)];
    let (open, close) = [("[", "]"), ("{\"a\":", "}"), ("[", "")][random.below(3)];
    let deep = format!(
        "{}1{}",
        open.repeat(depth / open.len()),
        close.repeat(depth / open.len())
    );
    match random.below(4) {
        0 => sealed(&deep, JOBS),
        1 => sealed(COUNTERS, &deep),
        // Where serde skips it.
        2 => sealed(
            COUNTERS,
            &format!(r#"[{{"id":1,"name":"","weight":1,"other":{deep}}}]"#),
        ),
        _ => sealed_with(COUNTERS, JOBS, |head| {
            head.replacen('{', &format!(r#"{{"x":{deep},"#), 1)
        }),
    }
}

fn number(random: &mut Random) -> String {
    let number = match random.below(14) {
        0 => "1e999".to_owned(),
        1 => "-1e999".to_owned(),
        2 => "1e-999999999999".to_owned(),
        3 => "18446744073709551616".to_owned(),
        4 => "-1".to_owned(),
        5 => "9".repeat(1 + random.below(200_000)),
        6 => format!("0.{}", "3".repeat(random.below(200_000))),
        7 => format!("1e{}", "9".repeat(random.below(200_000))),
        8 => "NaN".to_owned(),
        9 => "00001".to_owned(),
        10 => "1.5".to_owned(),
        11 => format!("\"{}\"", "x".repeat(random.below(200_000))),
        12 => format!("\"{}\"", "\\n".repeat(random.below(100_000))),
        _ => random.next().to_string(),
    };
    let job = if number.starts_with('"') {
        format!(r#"[{{"id":1,"name":{number},"weight":1}}]"#)
    } else {
        format!(r#"[{{"id":1,"name":"n","weight":{number}}}]"#)
    };
    match random.below(2) {
        0 => sealed(&format!(r#"{{"a":{number}}}"#), JOBS),
        _ => sealed(COUNTERS, &job),
    }
}

fn ill_typed(random: &mut Random) -> String {
    let data = random.one_of(&[
        "null",
        "[]",
        "{}",
        "\"\"",
        "{",
        "]",
        "",
        " ",
        "[1,]",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1}}",
        "[{\"id\":1}]",
        "[{\"id\":1,\"id\":2,\"name\":\"\",\"weight\":0}]",
        "\"\\ud800\"",
        "[{\"id\":1,\"name\":\"\\ud83e\\udd80\",\"weight\":0}]",
        "\u{0}",
        "tru",
        "\"\\",
        "//",
        "[{\"id\":1,\"name\":\"\",\"weight\":0,\"tags\":[1]}]",
    ]);
    if random.below(2) == 0 {
        sealed(data, JOBS)
    } else {
        sealed(COUNTERS, data)
    }
}

fn lying(random: &mut Random) -> String {
    let (from, to) = [
        ("\"length\":13", "\"length\":14"),
        ("\"length\":13", "\"length\":0"),
        ("\"length\":13", "\"length\":18446744073709551615"),
        ("\"length\":13", "\"length\":18446744073709551616"),
        ("\"length\":13", "\"length\":-1"),
        ("\"name\":\"jobs\"", "\"name\":\"counters\""),
        ("\"name\":\"jobs\"", "\"name\":\"\""),
        ("\"name\":\"jobs\"", "\"name\":\"\\\",\\\"\""),
        ("\"version\":1", "\"version\":0"),
        ("\"version\":1", "\"version\":4294967295"),
        ("\"version\":1", "\"version\":4294967296"),
        ("\"generation\":0", "\"generation\":18446744073709551616"),
        ("\"generation\":0", "\"generation\":null"),
        ("\"participants\":[", "\"participants\":[{},"),
        (
            "\"application\":\"shop\"",
            "\"application\":\"shop\",\"application\":\"shop\"",
        ),
        ("\"created\":", "\"other\":"),
    ][random.below(16)];
    sealed_with(COUNTERS, JOBS, |head| head.replacen(from, to, 1))
}

fn garbled(random: &mut Random, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_owned();
    match random.below(6) {
        0 => {
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
        1 => bytes.truncate(random.below(good.len())),
        2 => {
            // Two parts change places.
            let mut cuts = [
                random.below(good.len()),
                random.below(good.len()),
                random.below(good.len()),
            ];
            cuts.sort_unstable();
            bytes[cuts[0]..cuts[2]].rotate_left(cuts[1] - cuts[0]);
        }
        3 => {
            let (from, to) = (random.below(good.len()), random.below(good.len()));
            drop(bytes.drain(from.min(to)..from.max(to)));
        }
        4 => {
            let (from, to) = (random.below(good.len()), random.below(good.len()));
            let part = good[from.min(to)..from.max(to)].to_owned();
            let at = random.below(good.len());
            drop(bytes.splice(at..at, part));
        }
        _ => {
            let length = random.below(2000);
            bytes = random.bytes(length);
        }
    }
    bytes
}

struct Bombs {
    plain: Vec<Vec<u8>>,
}

impl Bombs {
    /// Some kilobytes each, and up to 64 MiB when they are unpacked.
    fn new(good: &[u8]) -> Self {
        let start = String::from_utf8(good.to_owned()).unwrap();
        let start = &start[..start.find("\"data\":{").unwrap() + 8];
        let fill = |front: &str, with: u8, length: usize| {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(front.as_bytes()).unwrap();
            let block = vec![with; 64 * 1024];
            for _ in 0..length / block.len() {
                encoder.write_all(&block).unwrap();
            }
            encoder.finish().unwrap()
        };
        Self {
            plain: vec![
                fill("", b' ', 64 << 20),
                fill("", b'[', 16 << 20),
                fill(
                    "{\"format\":\"tower-ops-state\",\"version\":1,\"head\":",
                    b'[',
                    7 << 20,
                ),
                fill(start, b'[', 7 << 20),
                fill(start, b'1', 16 << 20),
                fill(start, 0, 7 << 20),
                gzip(&fill("", b'[', 16 << 20)),
            ],
        }
    }

    fn one(&self, random: &mut Random) -> Vec<u8> {
        let mut bomb = self.plain[random.below(self.plain.len())].clone();
        match random.below(4) {
            0 => bomb.truncate(random.below(bomb.len())),
            1 => {
                let at = random.below(bomb.len());
                bomb[at] ^= 1 << random.below(8);
            }
            2 => bomb.extend(bomb.clone()),
            _ => {}
        }
        bomb
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
        let (status, _) = small.suffers(sealed(COUNTERS, JOBS).into(), false).await;
        assert_eq!(status, 200, "one that was sealed here");
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
