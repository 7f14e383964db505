use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many answers are being made.
#[derive(Clone, Debug, Default)]
pub(super) struct Answering(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    answers: AtomicUsize,
    less: Notify,
}

impl Answering {
    pub(super) fn begin(&self) -> One {
        self.0.answers.fetch_add(1, Ordering::AcqRel);
        One(self.clone())
    }

    /// One thread: nothing happens between the look and the wait.
    pub(super) async fn done(&self) {
        while self.0.answers.load(Ordering::Acquire) > 0 {
            self.0.less.notified().await;
        }
    }
}

/// One answer, until its connection ends.
pub(super) struct One(Answering);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.answers.fetch_sub(1, Ordering::AcqRel);
        self.0.0.less.notify_one();
    }
}
