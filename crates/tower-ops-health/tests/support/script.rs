//! A dependency that a test controls.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::future::pending;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;
use tower_ops_health::{Check, CheckResult};

#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Inner>);

#[derive(Default)]
struct Inner {
    mood: AtomicU8,
    takes: Mutex<Duration>,
    runs: AtomicU64,
    running: AtomicU64,
    most_running: AtomicU64,
}

#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Mood {
    Ok = 0,
    Degraded = 1,
    Down = 2,
    Hang = 3,
    Panic = 4,
}

struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.0.mood.store(mood as u8, Ordering::SeqCst);
    }

    pub(crate) fn takes(&self, time: Duration) {
        *self.0.takes.lock().expect("not poisoned") = time;
    }

    pub(crate) fn runs(&self) -> u64 {
        self.0.runs.load(Ordering::SeqCst)
    }

    pub(crate) fn running(&self) -> u64 {
        self.0.running.load(Ordering::SeqCst)
    }

    pub(crate) fn most_running(&self) -> u64 {
        self.0.most_running.load(Ordering::SeqCst)
    }

    pub(crate) fn check(&self, name: &str) -> Check {
        let inner = Arc::clone(&self.0);
        Check::new(name, move || {
            let inner = Arc::clone(&inner);
            async move {
                inner.runs.fetch_add(1, Ordering::SeqCst);
                let running = inner.running.fetch_add(1, Ordering::SeqCst) + 1;
                inner.most_running.fetch_max(running, Ordering::SeqCst);
                let _running = Running(Arc::clone(&inner));
                let takes = *inner.takes.lock().expect("not poisoned");
                if !takes.is_zero() {
                    sleep(takes).await;
                }
                match inner.mood.load(Ordering::SeqCst) {
                    0 => CheckResult::ok().detail("fine"),
                    1 => CheckResult::degraded("slow"),
                    2 => CheckResult::down("refused"),
                    3 => pending().await,
                    _ => panic!("the script says so"),
                }
            }
        })
    }
}
