//! What is counted. One set of handles for each listener, resolved when the
//! listener is named.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use crate::record::Record;
use crate::serve::accept::is_shortage;
use crate::{CloseReason, Protocol, RejectReason};

const ACTIVE: &str = "server_active_connections";
const IDLE: &str = "server_idle_connections";
const NATIVE: &str = "server_native_connections";
const OPENED: &str = "server_connections_total";
const CLOSED: &str = "server_connections_closed_total";
const REJECTED: &str = "server_connections_rejected_total";
const DURATION: &str = "server_connection_duration_seconds";
const REQUESTS: &str = "server_connection_requests";
const BYTES: &str = "server_connection_bytes_total";
const ACCEPT_ERRORS: &str = "server_connections_accept_errors_total";
const STREAMS_RESET: &str = "server_streams_reset_total";
const PASS: &str = "server_reaper_pass_seconds";

/// Where metrics go: the recorder that was given, or the process's.
#[derive(Clone)]
pub(crate) struct Sink(pub(crate) Option<Arc<dyn Recorder + Send + Sync>>);

impl Sink {
    pub(crate) fn with<T>(&self, register: impl FnOnce(&dyn Recorder) -> T) -> T {
        match &self.0 {
            Some(recorder) => register(&**recorder),
            None => metrics::with_recorder(register),
        }
    }

    pub(crate) fn listener(&self, name: &str, index: usize) -> ListenerMetrics {
        self.with(|recorder| ListenerMetrics::register(self, recorder, name, index))
    }

    pub(crate) fn pass(&self) -> Histogram {
        self.with(|recorder| recorder.register_histogram(&Key::from_static_name(PASS), METADATA))
    }
}

const METADATA: &Metadata<'static> =
    &Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// A counter that has a series once it has counted something.
pub(crate) struct LateCounter {
    sink: Sink,
    key: Key,
    counter: OnceLock<Counter>,
}

impl LateCounter {
    pub(crate) fn new(sink: &Sink, key: Key) -> Self {
        Self {
            sink: sink.clone(),
            key,
            counter: OnceLock::new(),
        }
    }

    pub(crate) fn increment(&self, by: u64) {
        let register = |recorder: &dyn Recorder| recorder.register_counter(&self.key, METADATA);
        let counter = self.counter.get_or_init(|| self.sink.with(register));
        counter.increment(by);
    }
}

/// The handles of one listener.
pub(crate) struct ListenerMetrics {
    pub(crate) name: Box<str>,
    /// How many were named before it.
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
    /// Streams of HTTP/2 whose client did not read.
    pub(crate) streams_stalled: LateCounter,
    /// For want of descriptors, and for other reasons.
    accept_errors: [LateCounter; 2],
}

impl ListenerMetrics {
    fn register(sink: &Sink, recorder: &dyn Recorder, name: &str, index: usize) -> Self {
        describe(recorder);
        let listener = Label::new("listener", name.to_owned());
        let key = |metric: &'static str, label: Option<(&'static str, &'static str)>| {
            let mut labels = vec![listener.clone()];
            labels.extend(label.map(|(label, value)| Label::from_static_parts(label, value)));
            Key::from_parts(metric, labels)
        };
        let protocol =
            |metric, protocol: Protocol| key(metric, Some(("protocol", protocol.as_str())));
        let late = |metric, label, value| LateCounter::new(sink, key(metric, Some((label, value))));
        Self {
            name: name.into(),
            index,
            active: Protocol::ALL
                .map(|it| recorder.register_gauge(&protocol(ACTIVE, it), METADATA)),
            idle: recorder.register_gauge(&key(IDLE, None), METADATA),
            managed: recorder.register_gauge(&Key::from_static_name(NATIVE), METADATA),
            opened: recorder.register_counter(&key(OPENED, None), METADATA),
            closed: CloseReason::ALL.map(|reason| {
                let key = key(CLOSED, Some(("reason", reason.as_str())));
                recorder.register_counter(&key, METADATA)
            }),
            rejected: RejectReason::ALL.map(|it| late(REJECTED, "reason", it.as_str())),
            duration: Protocol::ALL
                .map(|it| recorder.register_histogram(&protocol(DURATION, it), METADATA)),
            requests: Protocol::ALL
                .map(|it| recorder.register_histogram(&protocol(REQUESTS, it), METADATA)),
            read: recorder.register_counter(&key(BYTES, Some(("direction", "read"))), METADATA),
            written: recorder
                .register_counter(&key(BYTES, Some(("direction", "written"))), METADATA),
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

    /// Counts what came and went since the last time.
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

fn describe(recorder: &dyn Recorder) {
    let gauge = |name: &'static str, text: &'static str| {
        recorder.describe_gauge(KeyName::from(name), None, text.into());
    };
    let counter = |name: &'static str, text: &'static str| {
        recorder.describe_counter(KeyName::from(name), None, text.into());
    };
    let histogram = |name: &'static str, unit: Option<Unit>, text: &'static str| {
        recorder.describe_histogram(KeyName::from(name), unit, text.into());
    };
    gauge(ACTIVE, "Connections that are open");
    gauge(
        IDLE,
        "Connections without an exchange in flight, up to 15 seconds ago",
    );
    gauge(
        NATIVE,
        "Connections that are open on the accept loop of this library",
    );
    counter(OPENED, "Connections that were accepted");
    counter(CLOSED, "Connections that ended, by reason");
    counter(REJECTED, "Connections that were refused, by reason");
    counter(
        ACCEPT_ERRORS,
        "Errors after which the accept loop waited before it tried again, by error",
    );
    histogram(DURATION, Some(Unit::Seconds), "How long connections lived");
    histogram(REQUESTS, None, "How many requests came on one connection");
    counter(
        STREAMS_RESET,
        "Streams of HTTP/2 that were reset beside others that went on, by reason",
    );
    counter(BYTES, "Bytes read from connections and written to them");
    histogram(
        PASS,
        Some(Unit::Seconds),
        "How long the reaper takes to look at every connection",
    );
}
