use std::time::Duration;

use metrics::Label;
use tokio::time::Instant;
use tower_ops_core::recorder::{Description, RecorderHandle};

const EVICTED: &str = "admin_connections_evicted_total";
const ACCEPT_ERRORS: &str = "admin_accept_errors_total";

/// How often a kind of incident is logged at most: a client that causes one can cause thousands.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What goes wrong with connections: each incident is counted, and some are logged.
pub(super) struct Incidents {
    recorder: RecorderHandle,
    evicted: LogLimit,
    errors: LogLimit,
}

/// At most one event in [`LOG_EVERY`].
#[derive(Default)]
struct LogLimit {
    last: Option<Instant>,
    since: u64,
}

impl LogLimit {
    /// Counts an incident. Returns how many there were since the last that was logged, if this
    /// one is to be.
    fn count(&mut self) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.since))
    }
}

impl Incidents {
    pub(super) fn new(recorder: RecorderHandle) -> Self {
        Self {
            recorder,
            evicted: LogLimit::default(),
            errors: LogLimit::default(),
        }
    }

    pub(super) fn evicted(&mut self) {
        self.increment(EVICTED, &[], "Connections closed to let others in");
        if let Some(connections) = self.evicted.count() {
            tracing::warn!(
                connections,
                "the operations endpoint was full and closed the connections that had gone longest \
                 without sending a request, or without reading their answer"
            );
        }
    }

    pub(super) fn accept_failed(&mut self, error: &std::io::Error, is_shortage: bool) {
        let kind = if is_shortage { "descriptors" } else { "other" };
        let label = Label::from_static_parts("error", kind);
        self.increment(ACCEPT_ERRORS, &[label], "Connections not accepted");
        if let Some(errors) = self.errors.count() {
            tracing::warn!(
                errors,
                error = %error,
                "the operations endpoint could not accept a connection"
            );
        }
    }

    /// Not kept between incidents: the process may install its recorder later.
    fn increment(&self, name: &'static str, labels: &[Label], help: &'static str) {
        self.recorder.describe(&[Description::counter(name, help)]);
        self.recorder.counter(name, labels).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_in_ten_seconds_is_logged_with_how_many_there_were() {
        let mut logged = LogLimit::default();
        assert_eq!(logged.count(), Some(1));
        for _ in 0..500 {
            assert_eq!(logged.count(), None);
        }
        tokio::time::advance(LOG_EVERY).await;
        assert_eq!(logged.count(), Some(501));
        assert_eq!(logged.count(), None);
    }
}
