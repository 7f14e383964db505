use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Until when a connection may live. Moved while it lives.
#[derive(Clone, Debug)]
pub(crate) struct Deadline(watch::Sender<Option<Instant>>);

impl Deadline {
    pub(crate) fn within(limit: Duration) -> Self {
        Self(watch::Sender::new(Instant::now().checked_add(limit)))
    }

    /// From now on; `None`, and what no clock can hold, for ever.
    pub(crate) fn move_to(&self, limit: Option<Duration>) {
        self.0
            .send_replace(limit.and_then(|limit| Instant::now().checked_add(limit)));
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        let mut deadline = self.0.subscribe();
        loop {
            let until = *deadline.borrow_and_update();
            let passed = async {
                match until {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                // The sender is ours.
                _ = deadline.changed() => {}
            }
        }
    }
}
