//! The registry: closed once, never in use, and when.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics_util::debugging::DebuggingRecorder;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tower_ops_resources::{CloseOutcome, Registry, RegistryBuilder, UseError};

const SECOND: Duration = Duration::from_secs(1);

/// Counts its closes, and those while it is in use.
#[derive(Debug, Default)]
struct Probe {
    users: AtomicUsize,
    closed: AtomicUsize,
}

type Probed = Arc<Probe>;

async fn close(probe: Probed) {
    assert_eq!(probe.users.load(Ordering::SeqCst), 0, "closed while in use");
    probe.closed.fetch_add(1, Ordering::SeqCst);
}

impl Probe {
    fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

/// Small, good enough, and the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound
    }
}

#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "shows how much was tried")]
async fn a_million_random_steps_close_each_once_and_none_in_use() {
    const TASKS: u64 = 8;
    const STEPS: usize = 1_000_000;
    let registry = Registry::<Probed>::builder()
        .idle_timeout(5 * SECOND)
        .health_check_interval(SECOND)
        .health_check(|probe| async move {
            // Some turn out to be broken.
            let broken = Arc::as_ptr(&probe).addr() % 97 == 0;
            if broken { Err("broken") } else { Ok(()) }
        })
        .build()
        .unwrap();
    let shared = Arc::new(std::sync::Mutex::new(Vec::new()));
    let probes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tasks = (1..=TASKS).map(|seed| {
        let (registry, shared, probes) = (registry.clone(), shared.clone(), probes.clone());
        tokio::spawn(async move {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut held = Vec::new();
            let mut used = 0_usize;
            for _ in 0..STEPS / usize::try_from(TASKS).unwrap() {
                match random.below(100) {
                    0..=4 => {
                        let probe = Probed::default();
                        probes.lock().unwrap().push(probe.clone());
                        let id = registry.register_connection(probe, "probe", close);
                        shared.lock().unwrap().push(id);
                    }
                    5..=69 => {
                        let ids = shared.lock().unwrap();
                        if let Some(&id) = ids.get(random.below(ids.len().max(1)))
                            && let Ok(guard) = registry.use_connection(id)
                        {
                            guard.users.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(guard.closed(), 0, "used after the close");
                            used += 1;
                            held.push(guard);
                        }
                    }
                    70..=74 => {
                        let id = {
                            let mut ids = shared.lock().unwrap();
                            let count = ids.len();
                            (count > 0).then(|| ids.swap_remove(random.below(count)))
                        };
                        if let Some(id) = id {
                            let registry = registry.clone();
                            tokio::spawn(async move { registry.close(id).await });
                        }
                    }
                    75..=98 => {
                        if !held.is_empty() {
                            let guard = held.swap_remove(random.below(held.len()));
                            guard.users.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                    _ => {
                        for guard in held.drain(..) {
                            guard.users.fetch_sub(1, Ordering::SeqCst);
                        }
                        let millis = u64::try_from(random.below(100)).unwrap();
                        sleep(Duration::from_millis(millis)).await;
                    }
                }
            }
            for guard in held {
                guard.users.fetch_sub(1, Ordering::SeqCst);
            }
            used
        })
    });
    let mut used = 0;
    for task in tasks.collect::<Vec<_>>() {
        used += task.await.unwrap();
    }
    let report = registry.close_all(60 * SECOND).await;
    assert!(report.failed.is_empty(), "{report}");
    // Those that others asked to close are closed on tasks of their own.
    sleep(60 * SECOND).await;
    let probes = probes.lock().unwrap();
    let closed: Vec<_> = probes.iter().map(|probe| probe.closed()).collect();
    assert!(
        closed.iter().all(|closed| *closed == 1),
        "not once: {closed:?}"
    );
    assert!(
        probes.len() > 40_000 && used > 100_000,
        "{} {used}",
        probes.len()
    );
    println!(
        "{} resources, used {used} times, each closed once",
        probes.len()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_is_closed_between_300_and_360_seconds() {
    for offset in [1, 30, 59] {
        let registry = Registry::new();
        let probe = Probed::default();
        registry.register_connection(Probed::default(), "first", close);
        sleep(offset * SECOND).await;
        let id = registry.register_connection(probe.clone(), "probe", close);
        drop(registry.use_connection(id).unwrap());
        let begun = Instant::now();
        while probe.closed() == 0 {
            sleep(SECOND).await;
        }
        let took = begun.elapsed().as_secs();
        assert!((300..=361).contains(&took), "{took}");
        assert_eq!(registry.use_connection(id).unwrap_err(), UseError::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_is_not_closed_and_idle_counts_from_its_end() {
    let registry = Registry::new();
    let probe = Probed::default();
    let id = registry.register_connection(probe.clone(), "probe", close);
    let guard = registry.use_connection(id).unwrap();
    sleep(10_000 * SECOND).await;
    assert_eq!(registry.snapshot(9)[0].users, 1);
    let elsewhere = tokio::spawn(async move { drop(guard) });
    elsewhere.await.unwrap();
    sleep(299 * SECOND).await;
    assert_eq!(probe.closed(), 0);
    sleep(62 * SECOND).await;
    assert_eq!(probe.closed(), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_on_idle_can_be_switched_off() {
    let registry = Registry::builder()
        .auto_close_on_idle(false)
        .build()
        .unwrap();
    let probe = Probed::default();
    registry.register_connection(probe.clone(), "probe", close);
    sleep(100_000 * SECOND).await;
    assert_eq!(probe.closed(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_those_who_use_it() {
    let registry = Registry::new();
    let probe = Probed::default();
    let id = registry.register_connection(probe.clone(), "probe", close);
    let guard = registry.use_connection(id).unwrap();
    let closing = tokio::spawn({
        let registry = registry.clone();
        async move { registry.close(id).await }
    });
    sleep(5 * SECOND).await;
    assert_eq!(registry.use_connection(id).unwrap_err(), UseError::Closed);
    assert_eq!(probe.closed(), 0);
    drop(guard);
    assert_eq!(closing.await.unwrap(), Ok(CloseOutcome::Closed));
    assert_eq!(probe.closed(), 1);
    assert_eq!(registry.close(id).await, Err(UseError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_close_gives_up_waiting_but_the_closer_runs_in_the_end() {
    let registry = Registry::new();
    let probe = Probed::default();
    let id = registry.register_connection(probe.clone(), "probe", close);
    let guard = registry.use_connection(id).unwrap();
    assert_eq!(registry.close(id).await, Ok(CloseOutcome::InUse));
    drop(guard);
    sleep(SECOND).await;
    assert_eq!(probe.closed(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_close_goes_on() {
    let registry = Registry::new();
    let done = Arc::new(Notify::new());
    let id = registry.register_connection((), "slow", {
        let done = done.clone();
        async move |()| {
            sleep(5 * SECOND).await;
            done.notify_one();
        }
    });
    let short = timeout(SECOND, registry.close(id));
    assert!(short.await.is_err());
    done.notified().await;
}

#[tokio::test(start_paused = true)]
async fn closers_that_hang_or_panic_are_reported_and_hold_nobody_up() {
    let registry = Registry::new();
    let hangs = registry.register_connection((), "hangs", async |()| pending::<()>().await);
    let panics = registry.register_connection((), "panics", async |()| {
        panic!("as it is meant to");
    });
    let begun = Instant::now();
    assert_eq!(registry.close(hangs).await, Ok(CloseOutcome::TimedOut));
    assert_eq!(begun.elapsed(), 10 * SECOND);
    assert_eq!(registry.close(panics).await, Ok(CloseOutcome::Panicked));

    registry.register_connection((), "hangs", async |()| pending::<()>().await);
    registry.register_connection((), "closes", async |()| {});
    let used = registry.register_connection((), "used", async |()| {});
    let _guard = registry.use_connection(used).unwrap();
    let report = registry.close_all(20 * SECOND).await;
    assert_eq!(report.closed, 1);
    let failed: Vec<_> = report
        .failed
        .iter()
        .map(|(name, how)| (&**name, *how))
        .collect();
    assert_eq!(
        failed,
        [
            ("hangs", CloseOutcome::TimedOut),
            ("used", CloseOutcome::InUse)
        ]
    );
    assert!(registry.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_fails_its_check_is_closed() {
    #[derive(Clone, Copy, PartialEq)]
    enum Health {
        Good,
        Bad,
        Hangs,
        Panics,
    }
    let registry = Registry::<(Health, Probed)>::builder()
        .health_check(|it| async move {
            match it.0 {
                Health::Good => Ok(()),
                Health::Bad => Err("bad"),
                Health::Hangs => pending().await,
                Health::Panics => panic!("as it is meant to"),
            }
        })
        .build()
        .unwrap();
    let mut probes = Vec::new();
    for health in [Health::Good, Health::Bad, Health::Hangs, Health::Panics] {
        let probe = Probed::default();
        probes.push((health, probe.clone()));
        registry.register_connection((health, probe), "checked", |it| close(it.1));
    }
    sleep(75 * SECOND).await;
    for (health, probe) in &probes {
        assert_eq!(probe.closed(), usize::from(*health != Health::Good));
    }
    // A check is no use: idle goes on.
    sleep(300 * SECOND).await;
    assert_eq!(probes[0].1.closed(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_id_never_hits_a_newcomer() {
    let registry = Registry::new();
    let first = registry.register_connection(1, "first", async |_| {});
    registry.close(first).await.unwrap();
    let second = registry.register_connection(2, "second", async |_| {});
    assert_ne!(first, second);
    assert_eq!(
        first.to_string().split('.').next(),
        second.to_string().split('.').next()
    );
    assert_eq!(
        registry.use_connection(first).unwrap_err(),
        UseError::Closed
    );
    assert_eq!(registry.close(first).await, Err(UseError::Closed));
    assert_eq!(*registry.use_connection(second).unwrap(), 2);

    let other = Registry::<i32>::new();
    assert_eq!(other.use_connection(second).unwrap_err(), UseError::Unknown);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_registry_closes_everything_and_ends_its_task() {
    let registry = Registry::<Probed>::builder()
        .health_check(|_| async { Ok::<_, Infallible>(()) })
        .build()
        .unwrap();
    let probes: Vec<_> = (0..3).map(|_| Probed::default()).collect();
    for probe in &probes {
        registry.register_connection(probe.clone(), "probe", close);
    }
    drop(registry);
    sleep(SECOND).await;
    assert!(probes.iter().all(|probe| probe.closed() == 1));
    sleep(120 * SECOND).await;
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(tasks, 0);
}

#[test]
fn the_builder_names_every_problem() {
    let builder = Registry::<()>::builder()
        .health_check_interval(Duration::ZERO)
        .idle_timeout(Duration::ZERO)
        .close_timeout(Duration::ZERO);
    let found = builder.validate().unwrap_err();
    let error = builder.build().unwrap_err();
    assert_eq!(found.problems(), error.problems());
    let text = error.to_string();
    for setting in ["health_check_interval", "idle_timeout", "close_timeout"] {
        assert!(text.contains(setting), "{text}");
    }
}

#[tokio::test]
async fn a_close_that_never_happened_has_no_series() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _registry: Registry<u8> = Registry::builder()
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    let names: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .iter()
        .map(|(key, ..)| key.key().name().to_owned())
        .collect();
    assert_eq!(names, ["registry_connections"]);
}

const LONG: [Duration; 6] = [
    Duration::MAX,
    Duration::from_secs(u64::MAX),
    Duration::from_secs(i64::MAX as u64),
    Duration::from_secs(u64::MAX / 1_000_000),
    Duration::from_micros(u64::MAX),
    Duration::from_millis(u64::MAX / 2),
];

type Setting = fn(RegistryBuilder<()>, Duration) -> RegistryBuilder<()>;

#[tokio::test(start_paused = true)]
async fn a_registry_may_wait_for_ever() {
    let settings: [(&str, Setting); 3] = [
        ("health_check_interval", |b, it| b.health_check_interval(it)),
        ("idle_timeout", |b, it| b.idle_timeout(it)),
        ("close_timeout", |b, it| b.close_timeout(it)),
    ];
    for long in LONG {
        for (name, set) in settings {
            let builder = Registry::builder().health_check(|_| ready(Ok::<_, &str>(())));
            let registry = set(builder, long).build().unwrap();
            let id = registry.register_connection((), name, async |()| {});
            registry.register_connection((), name, async |()| {});
            sleep(100 * SECOND).await;
            assert_eq!(registry.len(), 2, "{name} {long:?}");
            assert_eq!(
                registry.close(id).await,
                Ok(CloseOutcome::Closed),
                "{name} {long:?}"
            );
            let hangs = registry.register_connection((), name, async |()| pending::<()>().await);
            let closing = timeout(100 * SECOND, registry.close(hangs)).await;
            assert_eq!(closing.is_err(), name == "close_timeout", "{name} {long:?}");
            let report = registry.close_all(long).await;
            assert_eq!(report.closed, 1, "{name} {long:?}: {report}");
        }
    }
}
