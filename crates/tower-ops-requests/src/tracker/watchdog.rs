use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tower_ops_core::recorder::{Description, RecorderHandle};
use tower_ops_observe::KnownMethod;

use crate::record::kind::Kind;
use crate::record::snapshot::RequestSnapshot;
use crate::record::{Record, nanos};
use crate::tracker::{Inner, RequestTracker};

const SLOW_REQUESTS: &str = "server_slow_requests_total";

impl RequestTracker {
    /// Reports every request that is older than
    /// [`slow_after`](crate::RequestTrackerBuilder::slow_after), once, while it still runs.
    ///
    /// A report is a warning in the log with what is known about the request, and one more in the
    /// counter `server_slow_requests_total`. Streams and tasks are not reported.
    ///
    /// Spawn it. It looks ten times within `slow_after`, but at least every 10 s and at most every
    /// 250 ms. It ends when the last other handle of the tracker is dropped, and at once if
    /// `slow_after` is `None`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing. What was reported is not reported again.
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
        let slow = self.registry.each_in_flight(|started, record| {
            let is_old = now.saturating_sub(started) >= age;
            // Most are not old: their records are not touched.
            (is_old && !record.was_reported_slow() && is_request(record))
                .then(|| Arc::clone(record))
        });
        for record in slow {
            // No lock is held here: writing a log may take its time.
            if is_request(&record) && record.mark_reported() {
                count(&self.recorder);
                warn(&RequestSnapshot::new(&record, now));
            }
        }
    }
}

fn is_request(record: &Record) -> bool {
    let progress = record.progress();
    progress.kind == Kind::Request && progress.end.is_none()
}

/// Looks the counter up each time: a slow request is rare, and a counter that was kept from before
/// the process installed its recorder would belong to none.
fn count(recorder: &RecorderHandle) {
    const HELP: &str = "Requests that were reported as slow while they ran";
    recorder.describe(&[Description::counter(SLOW_REQUESTS, HELP)]);
    recorder.counter(SLOW_REQUESTS, &[]).increment(1);
}

fn warn(request: &RequestSnapshot) {
    tracing::warn!(
        id = request.id,
        // Text from a client goes through Debug, which escapes line breaks.
        request_id = request.request_id.as_deref().map(tracing::field::debug),
        method = request.method.map(KnownMethod::as_str),
        route = request.route_or_name(),
        path = request.path.as_deref().map(tracing::field::debug),
        peer = request.peer.map(tracing::field::display),
        phase = request.phase.as_str(),
        age_ms = u64::try_from(request.age.as_millis()).unwrap_or(u64::MAX),
        bytes_sent = request.bytes_sent,
        "a request is slow and still running"
    );
}
