//! A participant that does whatever a test wants.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tower_ops_state::{Participant, Refusal};

#[derive(Clone)]
pub(crate) struct Shelf {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    version: u32,
    items: Mutex<Vec<String>>,
    next: Mutex<Mode>,
    reached: Notify,
    go_on: Notify,
}

/// What happens next time, once, except for `Always`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every test needs every mode")]
pub(crate) enum Mode {
    Good,
    RefuseCapture,
    PanicInCapture,
    HangInCapture,
    WaitInCapture,
    RefusePrepare,
    PanicInPrepare,
    HangInPrepare,
    WaitInPrepare,
    RefuseCommitHalfWay,
    PanicInCommitHalfWay,
    HangInCommitHalfWay,
    WaitInCommitHalfWay,
    RefuseCommitAlways,
}

#[allow(dead_code, reason = "not every test needs everything")]
impl Shelf {
    pub(crate) fn new(name: &'static str, items: &[&str]) -> Self {
        Self::with_version(name, 2, items)
    }

    pub(crate) fn with_version(name: &'static str, version: u32, items: &[&str]) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                version,
                items: Mutex::new(items.iter().map(ToString::to_string).collect()),
                next: Mutex::new(Mode::Good),
                reached: Notify::new(),
                go_on: Notify::new(),
            }),
        }
    }

    pub(crate) fn items(&self) -> MutexGuard<'_, Vec<String>> {
        let items = self.inner.items.lock();
        items.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next(&self, mode: Mode) {
        *self.inner.next.lock().unwrap() = mode;
    }

    /// Waits until it waits.
    pub(crate) async fn reached(&self) {
        self.inner.reached.notified().await;
    }

    pub(crate) fn go_on(&self) {
        self.inner.go_on.notify_one();
    }

    fn takes(&self, mode: Mode) -> bool {
        let mut next = self.inner.next.lock().unwrap();
        let takes = *next == mode;
        if takes && mode != Mode::RefuseCommitAlways {
            *next = Mode::Good;
        }
        takes
    }

    async fn wait(&self) {
        self.inner.reached.notify_one();
        self.inner.go_on.notified().await;
    }
}

impl Participant for Shelf {
    type Data = Vec<String>;

    fn name(&self) -> &str {
        self.inner.name
    }

    fn version(&self) -> u32 {
        self.inner.version
    }

    async fn capture(&self) -> Result<Vec<String>, Refusal> {
        if self.takes(Mode::RefuseCapture) {
            return Err(Refusal::new("the shelf is being painted"));
        }
        assert!(!self.takes(Mode::PanicInCapture), "the shelf fell");
        if self.takes(Mode::HangInCapture) {
            pending::<()>().await;
        }
        if self.takes(Mode::WaitInCapture) {
            self.wait().await;
        }
        Ok(self.items().clone())
    }

    async fn prepare(&self, _: &Vec<String>) -> Result<(), Refusal> {
        if self.takes(Mode::RefusePrepare) {
            return Err(Refusal::new("too heavy"));
        }
        assert!(!self.takes(Mode::PanicInPrepare), "the shelf fell");
        if self.takes(Mode::HangInPrepare) {
            pending::<()>().await;
        }
        if self.takes(Mode::WaitInPrepare) {
            self.wait().await;
        }
        Ok(())
    }

    /// Version 1 was one string.
    fn migrate(&self, version: u32, json: &str) -> Result<Vec<String>, Refusal> {
        if version != 1 {
            return Err(Refusal::new("only version 1 can be migrated"));
        }
        Ok(vec![serde_json::from_str(json)?])
    }

    async fn commit(&self, data: Vec<String>) -> Result<(), Refusal> {
        if self.takes(Mode::RefuseCommitAlways) {
            return Err(Refusal::new("nailed shut"));
        }
        self.items().clear();
        if self.takes(Mode::RefuseCommitHalfWay) {
            return Err(Refusal::new("the board broke"));
        }
        assert!(!self.takes(Mode::PanicInCommitHalfWay), "the shelf fell");
        if self.takes(Mode::HangInCommitHalfWay) {
            pending::<()>().await;
        }
        if self.takes(Mode::WaitInCommitHalfWay) {
            self.wait().await;
        }
        *self.items() = data;
        Ok(())
    }
}
