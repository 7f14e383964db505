//! Real Postgres and Redis: stopped, frozen, restarted.
//!
//! `tests/support/databases` starts both in a directory of its own, sets what is read here, and
//! stops them again:
//!
//! | variable | |
//! |---|---|
//! | `DATABASE_URL`, `REDIS_URL` | where they are |
//! | `TEST_POSTGRES_PID`, `TEST_REDIS_PID` | the process that has started all its others |
//! | `TEST_POSTGRES_STOP`, `TEST_REDIS_STOP` | a command that stops it, for `sh` |
//! | `TEST_POSTGRES_START`, `TEST_REDIS_START` | one that starts it again, and prints its new pid |
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has to fail; figures are for whoever asks for them"
)]

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, sleep};
use tower_ops_health::{Check, Health, Status};
use tower_ops_health_checks::{Pool, Redis};
use tower_ops_testing::{RawHttp1, Server};

const PERIOD: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);
/// For the prober, which asks every 5 ms, and for a machine that has more to do.
const SLACK: Duration = Duration::from_secs(2);
/// What probes may take on average, in times of what pings take.
const TIMES: u32 = 3;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name}: see tests/support/databases"))
}

/// A server that can be stopped in every way.
struct Database {
    name: &'static str,
    pid: u32,
}

impl Database {
    fn new(name: &'static str) -> Self {
        let pid = variable(&format!("TEST_{name}_PID")).parse().unwrap();
        Self { name, pid }
    }

    fn sh(&self, what: &str) -> String {
        let command = variable(&format!("TEST_{}_{what}", self.name));
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn stop(&self) {
        self.sh("STOP");
    }

    fn start(&mut self) {
        let printed = self.sh("START");
        self.pid = printed.lines().last().unwrap().trim().parse().unwrap();
    }

    /// Freezes or thaws the process, and then those that it has started: a frozen Postgres
    /// starts no more, but those that serve connections would go on.
    fn signal(&self, signal: &str) {
        let pids = [vec![self.pid], children(self.pid)].concat();
        for pid in pids {
            let kill = format!("kill -s {signal} {pid}");
            // One may have ended since.
            let _ = Command::new("sh").args(["-c", &kill]).status().unwrap();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test that fails leaves nothing frozen.
        self.signal("CONT");
    }
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before it may have anything in it, but not after its last bracket.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let ppid = fields.and_then(|fields| fields.split_whitespace().nth(1));
        ppid == Some(&parent.to_string())
    })
    .collect()
}

#[derive(Default)]
struct Seen {
    /// What `/ready` answers, and since when.
    ready: Option<(u16, Instant)>,
    probes: Times,
    /// Of those that look at no check and take no lock: what the machine costs.
    pings: Times,
    liveness_failures: usize,
}

#[derive(Default)]
struct Times {
    count: u32,
    total: Duration,
    slowest: Duration,
}

impl Times {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        self.slowest = self.slowest.max(took);
    }

    fn mean(&self) -> Duration {
        self.total / self.count.max(1)
    }
}

/// Asks over HTTP, from a thread of its own as an operations endpoint has, until it is dropped.
struct Prober {
    seen: Arc<Mutex<Seen>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Prober {
    fn start(health: &Health) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (stop, stopped) = oneshot::channel();
        let (watch, probes, seeing) = (health.watch(), health.probes(), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::spawn(watch);
                let server = Server::spawn(probes).await;
                tokio::select! {
                    () = probe(server.addr(), &seeing) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn ready(&self) -> Option<u16> {
        self.seen.lock().unwrap().ready.map(|(code, _)| code)
    }

    /// Waits until `/ready` answers that, and returns how long after `began` it first did.
    async fn wait_for(&self, code: u16, began: Instant, within: Duration) -> Duration {
        let waiting = Instant::now();
        loop {
            if let Some((seen, since)) = self.seen.lock().unwrap().ready
                && seen == code
            {
                return since.saturating_duration_since(began);
            }
            let waited = waiting.elapsed();
            assert!(waited < within, "/ready is not {code} after {waited:?}");
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn finish(mut self) -> Seen {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn probe(addr: std::net::SocketAddr, seen: &Mutex<Seen>) {
    let mut ticks = interval(Duration::from_millis(5));
    loop {
        ticks.tick().await;
        for path in ["/health/ping", "/health", "/ready"] {
            let began = Instant::now();
            let mut client = RawHttp1::connect(addr).await.unwrap();
            client.send_request("GET", path, &[], "").await.unwrap();
            let status = client.read_head().await.unwrap().status.as_u16();
            let took = began.elapsed();
            let mut seen = seen.lock().unwrap();
            if path == "/health/ping" {
                seen.pings.add(took);
                continue;
            }
            seen.probes.add(took);
            if path == "/ready" {
                if seen.ready.is_none_or(|(code, _)| code != status) {
                    seen.ready = Some((status, Instant::now()));
                }
            } else if status != 200 {
                seen.liveness_failures += 1;
            }
        }
    }
}

async fn stop_freeze_restart(mut database: Database, check: Check) {
    let name = database.name;
    let checked = check.name().to_owned();
    let check = check.critical().period(PERIOD).timeout(TIMEOUT);
    let health = Health::builder().check(check).build().unwrap();
    tokio::spawn(health.run());
    health.mark_ready();
    let prober = Prober::start(&health);
    // Both ways it takes a run that begins within a period and ends within its timeout.
    let bound = PERIOD + TIMEOUT + SLACK;
    prober
        .wait_for(200, Instant::now(), Duration::from_secs(20))
        .await;

    let began = Instant::now();
    tokio::task::block_in_place(|| database.stop());
    let stop = began.elapsed();
    let stopped = prober.wait_for(503, began, bound).await;
    // Longer than a client's patience.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(prober.ready(), Some(503));
    let began = Instant::now();
    tokio::task::block_in_place(|| database.start());
    let start = began.elapsed();
    let started = prober.wait_for(200, began, bound).await;

    // At different times within a period: what is slowest counts.
    let (mut frozen, mut thawed) = (Duration::ZERO, Duration::ZERO);
    for phase in [0, 250, 500, 750] {
        let phase = Duration::from_millis(phase);
        sleep(phase).await;
        let began = Instant::now();
        database.signal("STOP");
        frozen = frozen.max(prober.wait_for(503, began, bound).await);
        sleep(TIMEOUT + phase * 2).await;
        assert_eq!(prober.ready(), Some(503));
        let began = Instant::now();
        database.signal("CONT");
        thawed = thawed.max(prober.wait_for(200, began, bound).await);
    }

    // So quickly that it may go unnoticed. What counts are the runs after it.
    tokio::task::block_in_place(|| {
        database.stop();
        database.start();
    });
    let began = Instant::now();
    sleep(bound).await;
    let report = health.report(&checked).unwrap();
    assert_eq!(report.status, Status::Ok, "{report:?}");
    let restarted = began.elapsed() - report.last.unwrap().age;
    prober.wait_for(200, began, SLACK).await;
    sleep(PERIOD * 2).await;
    assert_eq!(prober.ready(), Some(200));

    let seen = prober.finish();
    println!(
        "{name}: period {PERIOD:?}, timeout {TIMEOUT:?}\n\
         stopping took {stop:?}, /ready was 503 {stopped:?} after its begin\n\
         starting took {start:?}, /ready was 200 {started:?} after its begin\n\
         frozen 4 times: 503 after {frozen:?} at most; thawed: 200 after {thawed:?} at most\n\
         restarted: the last run that passed ended {restarted:?} after it\n\
         {} probes took {:?} each, the slowest {:?} (pings {:?} and {:?}), \
         /health failed {} times",
        seen.probes.count,
        seen.probes.mean(),
        seen.probes.slowest,
        seen.pings.mean(),
        seen.pings.slowest,
        seen.liveness_failures
    );
    assert_eq!(seen.liveness_failures, 0);
    // One that waited for what is frozen would take a second of this run, and there are four.
    let (probe, ping) = (seen.probes.mean(), seen.pings.mean());
    assert!(
        probe < TIMES * ping,
        "a probe took {probe:?}, a ping {ping:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Postgres of its own, which tests/support/databases starts"]
async fn postgres_stopped_frozen_and_restarted() {
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .connect(&variable("DATABASE_URL"))
        .await
        .unwrap();
    let check = Pool::new(&pool).into_check("postgres");
    stop_freeze_restart(Database::new("POSTGRES"), check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Redis of its own, which tests/support/databases starts"]
async fn redis_stopped_frozen_and_restarted() {
    let client = redis::Client::open(variable("REDIS_URL")).unwrap();
    // By default it waits for seconds between attempts to connect, and so would every request.
    let config = ConnectionManagerConfig::new().set_max_delay(Duration::from_millis(100));
    let connection = ConnectionManager::new_with_config(client.clone(), config);
    let connection = connection.await.unwrap();
    let check = Redis::new(connection).into_check("redis");
    stop_freeze_restart(Database::new("REDIS"), check).await;

    let config = ConnectionManagerConfig::new();
    let mut connection = ConnectionManager::new_with_config(client, config)
        .await
        .unwrap();
    let _: () = redis::cmd("DEL")
        .arg("jobs")
        .query_async(&mut connection)
        .await
        .unwrap();
    let list = Redis::new(connection.clone())
        .list("jobs")
        .degraded_at(2)
        .down_at(3);
    let health = Health::builder()
        .check(list.into_check("jobs"))
        .build()
        .unwrap();
    tokio::spawn(health.run());
    while health.check_now("jobs").await.is_err() {
        tokio::task::yield_now().await;
    }
    for expected in ["ok", "degraded", "down"] {
        let _: () = redis::cmd("RPUSH")
            .arg("jobs")
            .arg(1)
            .query_async(&mut connection)
            .await
            .unwrap();
        let report = health.check_now("jobs").await.unwrap();
        assert_eq!(report.status.as_str(), expected);
    }
    let _: () = redis::cmd("SET")
        .arg("jobs")
        .arg(1)
        .query_async(&mut connection)
        .await
        .unwrap();
    let report = health.check_now("jobs").await.unwrap();
    assert!(report.last.unwrap().error.unwrap().contains("WRONGTYPE"));
}
