//! The metrics of connections. Their handles are resolved once for each listener.

use std::io;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label};
use tower_ops_core::accept::is_shortage;
use tower_ops_core::recorder::{Description, LateCounter, RecorderHandle};

use crate::record::Record;
use crate::{CloseReason, Protocol, RejectReason};

const ACTIVE: &str = "server_active_connections";
const IDLE: &str = "server_idle_connections";
const MANAGED: &str = "server_native_connections";
const OPENED: &str = "server_connections_total";
const CLOSED: &str = "server_connections_closed_total";
const REJECTED: &str = "server_connections_rejected_total";
const DURATION: &str = "server_connection_duration_seconds";
const REQUESTS: &str = "server_connection_requests";
const BYTES: &str = "server_connection_bytes_total";
const ACCEPT_ERRORS: &str = "server_connections_accept_errors_total";
const STREAMS_RESET: &str = "server_streams_reset_total";
const PASS: &str = "server_reaper_pass_seconds";

const DESCRIPTIONS: &[Description] = &[
    Description::gauge(ACTIVE, "Open connections"),
    Description::gauge(
        IDLE,
        "Connections without an exchange in flight, up to 15 seconds ago",
    ),
    Description::gauge(
        MANAGED,
        "Open connections on the accept loop of this library",
    ),
    Description::counter(OPENED, "Accepted connections"),
    Description::counter(CLOSED, "Closed connections, by reason"),
    Description::counter(REJECTED, "Refused connections, by reason"),
    Description::counter(
        ACCEPT_ERRORS,
        "Errors after which the accept loop waited before it tried again, by error",
    ),
    Description::histogram(DURATION, "How long connections were open, in seconds"),
    Description::histogram(REQUESTS, "Requests on each connection"),
    Description::counter(
        STREAMS_RESET,
        "HTTP/2 streams that were reset while others went on, by reason",
    ),
    Description::counter(BYTES, "Bytes read from connections and written to them"),
    Description::histogram(
        PASS,
        "How long the reaper takes to look at every connection, in seconds",
    ),
];

/// Registers the histogram of the reaper.
pub(crate) fn pass(recorder: &RecorderHandle) -> Histogram {
    recorder.histogram(PASS, &[])
}

/// The handles of one listener.
pub(crate) struct ListenerMetrics {
    pub(crate) name: Box<str>,
    /// How many listeners were named before it.
    pub(crate) index: usize,
    active: [Gauge; Protocol::ALL.len()],
    pub(crate) idle: Gauge,
    /// Of all listeners together.
    pub(crate) managed: Gauge,
    opened: Counter,
    closed: [Counter; CloseReason::ALL.len()],
    rejected: [LateCounter; RejectReason::ALL.len()],
    duration: [Histogram; Protocol::ALL.len()],
    requests: [Histogram; Protocol::ALL.len()],
    read: Counter,
    written: Counter,
    /// HTTP/2 streams whose client did not read.
    pub(crate) streams_stalled: LateCounter,
    /// For want of descriptors, and for other reasons.
    accept_errors: [LateCounter; 2],
}

impl ListenerMetrics {
    pub(crate) fn register(recorder: &RecorderHandle, name: &str, index: usize) -> Self {
        recorder.describe(DESCRIPTIONS);
        let listener = Label::new("listener", name.to_owned());
        let with = |label, value| [listener.clone(), Label::from_static_parts(label, value)];
        let protocol = |it: Protocol| with("protocol", it.as_str());
        let late = |metric, label, value| LateCounter::new(recorder, metric, &with(label, value));
        let only = std::slice::from_ref(&listener);
        Self {
            name: name.into(),
            index,
            active: Protocol::ALL.map(|it| recorder.gauge(ACTIVE, &protocol(it))),
            idle: recorder.gauge(IDLE, only),
            managed: recorder.gauge(MANAGED, &[]),
            opened: recorder.counter(OPENED, only),
            closed: CloseReason::ALL
                .map(|it| recorder.counter(CLOSED, &with("reason", it.as_str()))),
            rejected: RejectReason::ALL.map(|it| late(REJECTED, "reason", it.as_str())),
            duration: Protocol::ALL.map(|it| recorder.histogram(DURATION, &protocol(it))),
            requests: Protocol::ALL.map(|it| recorder.histogram(REQUESTS, &protocol(it))),
            read: recorder.counter(BYTES, &with("direction", "read")),
            written: recorder.counter(BYTES, &with("direction", "written")),
            streams_stalled: late(STREAMS_RESET, "reason", "stalled"),
            accept_errors: ["descriptors", "other"].map(|it| late(ACCEPT_ERRORS, "error", it)),
        }
    }

    pub(crate) fn opened(&self) {
        self.opened.increment(1);
        self.active[Protocol::Unknown.index()].increment(1.0);
    }

    pub(crate) fn change_protocol(&self, before: Protocol, after: Protocol) {
        self.active[before.index()].decrement(1.0);
        self.active[after.index()].increment(1.0);
    }

    pub(crate) fn rejected(&self, reason: RejectReason) {
        self.rejected[reason.index()].increment(1);
    }

    pub(crate) fn accept_failed(&self, error: &io::Error) {
        let [descriptors, other] = &self.accept_errors;
        if is_shortage(error) {
            descriptors.increment(1);
        } else {
            other.increment(1);
        }
    }

    pub(crate) fn closed(&self, record: &Record, reason: CloseReason, age: Duration) {
        let protocol = record.protocol().index();
        self.active[protocol].decrement(1.0);
        if record.is_managed() {
            self.managed.decrement(1.0);
        }
        self.closed[reason.index()].increment(1);
        self.duration[protocol].record(age.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 requests")]
        self.requests[protocol].record(record.exchanges() as f64);
        self.publish_bytes(record);
    }

    /// Counts the bytes since the last call.
    pub(crate) fn publish_bytes(&self, record: &Record) {
        let (read, written) = record.take_unpublished();
        if read > 0 {
            self.read.increment(read);
        }
        if written > 0 {
            self.written.increment(written);
        }
    }
}
