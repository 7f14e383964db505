//! A day on Kubernetes, on a paused clock, against what was computed by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

#[path = "support/ask.rs"]
mod ask;
#[path = "support/script.rs"]
mod script;

use std::time::Duration;

use script::{Mood, Script};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tower_ops_health::Health;

/// A container: a restart makes another.
struct Container {
    health: Health,
    tasks: Vec<AbortHandle>,
}

struct World {
    database: Script,
    cache: Script,
    deadlock: Script,
}

impl World {
    /// Checks run every 10 s from the start. It is ready 18 s after it.
    fn start(&self) -> Container {
        let period = |check: tower_ops_health::Check| {
            let (period, timeout) = (Duration::from_secs(10), Duration::from_secs(2));
            check.period(period).timeout(timeout)
        };
        let health = Health::builder()
            .jitter(0.0)
            .check(period(self.database.check("database").critical()))
            .check(period(self.cache.check("cache")))
            .check(period(
                self.deadlock.check("deadlock").critical().group("liveness"),
            ))
            .build()
            .unwrap();
        let run = tokio::spawn(health.run());
        let starting = health.clone();
        let start = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(18)).await;
            starting.mark_ready();
        });
        Container {
            health,
            tasks: vec![run.abort_handle(), start.abort_handle()],
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// One of the kubelet's probes: 200 to 399 within a second is a success.
struct Prober {
    path: &'static str,
    failure_threshold: u32,
    passes: bool,
    failures: u32,
}

impl Prober {
    async fn probe(&mut self, health: &Health) {
        let answer = tokio::time::timeout(Duration::from_secs(1), ask::code(health, self.path));
        if answer.await.is_ok_and(|code| (200..400).contains(&code)) {
            self.failures = 0;
            self.passes = true;
        } else {
            self.failures += 1;
            if self.failures >= self.failure_threshold {
                self.passes = false;
            }
        }
    }
}

const fn at(hours: u64, minutes: u64, seconds: u64) -> u64 {
    (hours * 60 + minutes) * 60 + seconds
}

#[tokio::test(start_paused = true)]
async fn a_day_of_failures_costs_what_it_must() {
    let world = World {
        database: Script::new(),
        cache: Script::new(),
        deadlock: Script::new(),
    };
    let mut container = world.start();
    let probers = || {
        let prober = |path, passes| Prober {
            path,
            failure_threshold: 3,
            passes,
            failures: 0,
        };
        (prober("/health", true), prober("/ready", false))
    };
    let (mut liveness, mut readiness) = probers();
    let (mut restarts, mut unready) = (0, 0);
    let midnight = Instant::now();
    for second in 0..at(24, 0, 0) {
        // In the middle of each second, so that nothing happens at the same time.
        sleep_until(midnight + Duration::from_millis(second * 1_000 + 500)).await;
        match second {
            // 20 s: two of three probes see it.
            s if s == at(1, 0, 5) => world.database.set(Mood::Down),
            s if s == at(1, 0, 25) => world.database.set(Mood::Ok),
            // 5 minutes.
            s if s == at(2, 0, 5) => world.database.set(Mood::Down),
            s if s == at(2, 5, 5) => world.database.set(Mood::Ok),
            // It hangs for 10 minutes.
            s if s == at(3, 0, 5) => world.database.set(Mood::Hang),
            s if s == at(3, 10, 5) => world.database.set(Mood::Ok),
            // An hour without what can be done without.
            s if s == at(4, 0, 5) => world.cache.set(Mood::Down),
            s if s == at(5, 0, 5) => world.cache.set(Mood::Ok),
            // Not ready for a minute, by its own word.
            s if s == at(6, 0, 1) => container.health.mark_not_ready(),
            s if s == at(6, 1, 1) => container.health.mark_ready(),
            // A deadlock, which a restart repairs.
            s if s == at(7, 0, 5) => world.deadlock.set(Mood::Down),
            // The database takes its time, but answers.
            s if s == at(20, 0, 0) => world.database.takes(Duration::from_millis(1_500)),
            s if s == at(20, 30, 0) => world.database.takes(Duration::ZERO),
            // It fails every other time for half an hour.
            s if (at(21, 0, 0)..at(21, 30, 0)).contains(&s) => {
                let even = s / 10 % 2 == 0;
                world.database.set(if even { Mood::Down } else { Mood::Ok });
            }
            s if s == at(21, 30, 0) => world.database.set(Mood::Ok),
            _ => {}
        }
        if second % 10 == 5 {
            liveness.probe(&container.health).await;
            readiness.probe(&container.health).await;
        }
        if !liveness.passes {
            restarts += 1;
            world.deadlock.set(Mood::Ok);
            container = world.start();
            (liveness, readiness) = probers();
        }
        unready += u64::from(!readiness.passes);
    }
    // From each start to the first probe after 18 s: 25 s at midnight, and 20 s after the restart,
    // which comes in the middle of a second that a probe is in, too.
    // 2:00:35, the third failed probe, to 2:05:15: 280 s. 3:00:35 to 3:10:15: 580 s.
    // 6:00:25 to 6:01:05: 40 s. Nothing else.
    assert_eq!((restarts, unready), (1, 25 + 280 + 580 + 40 + 20));
}
