use std::future::Future;
use std::sync::{Arc, Once};
use std::time::Duration;

use metrics::{Key, KeyName, Level, Metadata, Recorder};
use tokio::time::sleep;

use crate::outcome::Kind;
use crate::record::{Record, nanos};
use crate::snapshot::RequestSnapshot;
use crate::tracker::{Inner, RequestTracker};

const SLOW_REQUESTS: &str = "server_slow_requests_total";

impl RequestTracker {
    /// Reports every request that is older than
    /// [`slow_after`](crate::RequestTrackerBuilder::slow_after), once, while it
    /// still runs: as a warning with what is known about it, and in the counter
    /// `server_slow_requests_total`.
    ///
    /// Spawn it. It looks ten times in the time that it takes to be slow, at
    /// least every 10 s and at most every 250 ms. Streams and tasks are not
    /// reported. It ends with the tracker's last other handle, and at once if
    /// there is nothing to report.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; what was reported stays so for the next one.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let slow_after = self.inner.slow_after;
        let tracker = Arc::downgrade(&self.inner);
        async move {
            let Some(age) = slow_after else { return };
            let pause = (age / 10).clamp(Duration::from_millis(250), Duration::from_secs(10));
            loop {
                sleep(pause).await;
                let Some(inner) = tracker.upgrade() else {
                    return;
                };
                inner.report_slow(age);
            }
        }
    }
}

impl Inner {
    fn report_slow(&self, age: Duration) {
        let now = self.registry.now();
        let age = nanos(age);
        let slow = self.registry.each_live(|started, record| {
            let is_old = now.saturating_sub(started) >= age;
            // The record is looked at for the few that are.
            (is_old && !record.was_reported_slow() && is_request(record))
                .then(|| Arc::clone(record))
        });
        for record in slow {
            // Off the locks: who writes logs may take its time.
            if is_request(&record) && record.report_slow() {
                self.count_slow();
                warn_of(&RequestSnapshot::new(&record, now));
            }
        }
    }

    fn count_slow(&self) {
        match &self.recorder {
            Some(recorder) => count_in(&**recorder),
            None => metrics::with_recorder(|recorder| count_in(recorder)),
        }
    }
}

fn is_request(record: &Record) -> bool {
    let progress = record.progress();
    progress.kind == Kind::Request && progress.end.is_none()
}

/// A slow request is rare enough to look its counter up each time; one that is
/// kept could belong to no recorder at all, if it was made before the process's.
fn count_in(recorder: &dyn Recorder) {
    static DESCRIBE: Once = Once::new();
    DESCRIBE.call_once(|| {
        recorder.describe_counter(
            KeyName::from(SLOW_REQUESTS),
            None,
            "Requests that were reported as slow while they ran".into(),
        );
    });
    let metadata = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
    recorder
        .register_counter(&Key::from_static_name(SLOW_REQUESTS), &metadata)
        .increment(1);
}

fn warn_of(request: &RequestSnapshot) {
    tracing::warn!(
        id = request.id,
        // What a client sent goes through Debug, which escapes line breaks.
        request_id = request.request_id.as_deref().map(tracing::field::debug),
        method = request.method.map(tower_ops_observe::KnownMethod::as_str),
        route = request.route_or_name(),
        path = request.path.as_deref().map(tracing::field::debug),
        peer = request.peer.map(tracing::field::display),
        phase = request.phase.as_str(),
        age_ms = u64::try_from(request.age.as_millis()).unwrap_or(u64::MAX),
        bytes_sent = request.bytes_sent,
        "a request is slow and still running"
    );
}
