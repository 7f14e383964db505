use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use tower_ops_observe::{Class, GrpcCode, KnownMethod, Outcome, Phase, Route, TraceIds};

use crate::record::Record;
use crate::record::kind::Kind;
use crate::record::metadata::Metadata;

/// One piece of work at one moment: in flight, or ended.
///
/// Serialises to the JSON that the [service](crate::RequestsService) answers. Fields that hold text
/// from a client are marked so. Serde escapes it for JSON; escape it yourself for anything else.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RequestSnapshot {
    /// Its id, which no other work of this process has.
    pub id: u64,
    /// The kind of work.
    pub kind: Kind,
    /// The id of the tracked work in which it began.
    pub parent: Option<u64>,
    /// **From the client**, where an inbound id is accepted. At most 128 bytes.
    pub request_id: Option<String>,
    /// The ids of its span in a W3C trace, and whether that is recorded. In JSON `trace_id`,
    /// `span_id` (`null` if only the trace is known) and `sampled`.
    #[serde(flatten, serialize_with = "trace")]
    pub trace_ids: Option<TraceIds>,
    /// The id of the connection.
    pub connection: Option<u64>,
    /// `None` for a task.
    #[serde(serialize_with = "method")]
    pub method: Option<KnownMethod>,
    /// The route's template, if it is known yet; never a raw path.
    #[serde(serialize_with = "route")]
    pub route: Option<Route>,
    /// The name of a task.
    pub name: Option<String>,
    /// **From the client.** For display only: it can be any text.
    pub path: Option<String>,
    /// Whether the path was longer than what is kept: 128 bytes, or less with a request id of more
    /// than 64 bytes.
    pub path_truncated: bool,
    /// The socket address of the peer.
    pub peer: Option<SocketAddr>,
    /// The phase that it is in, or in which it ended.
    #[serde(serialize_with = "phase")]
    pub phase: Phase,
    /// The time since its start; for what ended, until its end.
    #[serde(rename = "age_ms", serialize_with = "whole_millis")]
    pub age: Duration,
    /// The time to the response's head.
    #[serde(rename = "time_to_head_ms", serialize_with = "millis")]
    pub time_to_head: Option<Duration>,
    /// The time from its start to its end; `None` while it runs.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Option<Duration>,
    /// The time since its end; `None` while it runs.
    #[serde(rename = "ended_ms_ago", serialize_with = "millis")]
    pub ended_ago: Option<Duration>,
    /// How many bytes of the response's body the transport took.
    pub bytes_sent: u64,
    /// `None` while it runs.
    #[serde(serialize_with = "outcome")]
    pub outcome: Option<Outcome>,
    /// The outcome and the status as a class; `None` while it runs.
    #[serde(serialize_with = "class")]
    pub class: Option<Class>,
    /// The response's status, once there is a head.
    #[serde(serialize_with = "status")]
    pub status: Option<StatusCode>,
    /// The gRPC status of a call that ended.
    #[serde(serialize_with = "grpc")]
    pub grpc_status: Option<GrpcCode>,
    /// The reason that the handler gave to `fail` or `reject`, cut to 256 bytes.
    pub reason: Option<String>,
    /// The error that it ended with, cut to 256 bytes. May quote a client.
    pub error: Option<String>,
    /// What the handler noted.
    #[serde(serialize_with = "metadata")]
    pub metadata: Metadata,
    /// How many notes were dropped, as there were 16.
    pub metadata_dropped: u32,
}

impl RequestSnapshot {
    pub(crate) fn new(record: &Record, now: u64) -> Self {
        let ago = |at: u64| Duration::from_nanos(now.saturating_sub(at));
        let progress = record.progress();
        let duration = progress.end.and_then(|_| record.duration());
        let is_task = progress.kind == Kind::Task;
        let (route, name) = match record.route() {
            Some(name) if is_task => (None, Some(name.as_str().to_owned())),
            route => (route.cloned(), None),
        };
        let mut snapshot = Self {
            id: record.id,
            kind: progress.kind,
            parent: record.parent.map(Into::into),
            request_id: record.text.id().map(Into::into),
            trace_ids: record.trace_ids,
            connection: record.connection,
            method: record.method,
            route,
            name,
            path: record.text.path().map(Into::into),
            path_truncated: record.text.is_path_cut(),
            peer: record.peer,
            phase: progress.phase,
            age: duration.unwrap_or_else(|| ago(record.started)),
            time_to_head: record.time_to_head(),
            duration,
            ended_ago: duration.map(|_| ago(record.ended())),
            bytes_sent: record.bytes_sent(),
            outcome: progress.end.map(|end| end.outcome),
            class: progress.end.map(|end| end.class),
            status: progress.status,
            grpc_status: progress.end.and_then(|end| end.grpc),
            reason: None,
            error: None,
            metadata: Metadata::new(),
            metadata_dropped: 0,
        };
        if let Some(extra) = record.extra() {
            snapshot.reason = extra.verdict.as_ref().map(|it| it.reason.to_string());
            snapshot.error = extra.error.as_deref().map(Into::into);
            snapshot.metadata_dropped = extra.metadata.dropped();
            snapshot.metadata = extra.metadata.clone();
        }
        snapshot
    }

    /// Returns the route, or the name of a task, or `{unmatched}`.
    #[must_use]
    pub fn route_or_name(&self) -> &str {
        let route = self.route.as_ref().map(Route::as_str);
        route.or(self.name.as_deref()).unwrap_or("{unmatched}")
    }

    /// Removes what a client sent, what identifies it, and what the handler noted.
    #[must_use]
    pub fn without_details(self) -> Self {
        Self {
            request_id: None,
            trace_ids: None,
            connection: None,
            path: None,
            path_truncated: false,
            peer: None,
            reason: None,
            error: None,
            metadata: Metadata::new(),
            ..self
        }
    }
}

/// Writes the method, the route or the name, the age and the peer: `GET /reports for 16s from
/// 192.0.2.7:4711`. Nothing in it is text from a client.
impl fmt::Display for RequestSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = self.method {
            write!(f, "{} ", method.as_str())?;
        }
        let age = Duration::from_millis(u64::try_from(self.age.as_millis()).unwrap_or(0));
        write!(f, "{} for {age:?}", self.route_or_name())?;
        if let Some(peer) = self.peer {
            write!(f, " from {peer}")?;
        }
        Ok(())
    }
}

// serde passes what it serialises by reference.

fn trace<S: Serializer>(ids: &Option<TraceIds>, serializer: S) -> Result<S::Ok, S::Error> {
    let of_span = ids.filter(|ids| ids.span_id() != 0);
    let mut fields = serializer.serialize_struct("TraceIds", 3)?;
    fields.serialize_field("trace_id", &ids.map(|ids| ids.trace_id_hex().to_string()))?;
    fields.serialize_field("span_id", &of_span.map(|ids| ids.span_id_hex().to_string()))?;
    fields.serialize_field("sampled", &of_span.map(TraceIds::is_sampled))?;
    fields.end()
}

fn method<S: Serializer>(method: &Option<KnownMethod>, serializer: S) -> Result<S::Ok, S::Error> {
    method.map(KnownMethod::as_str).serialize(serializer)
}

fn route<S: Serializer>(route: &Option<Route>, serializer: S) -> Result<S::Ok, S::Error> {
    route.as_ref().map(Route::as_str).serialize(serializer)
}

fn phase<S: Serializer>(phase: &Phase, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(phase.as_str())
}

fn outcome<S: Serializer>(outcome: &Option<Outcome>, serializer: S) -> Result<S::Ok, S::Error> {
    outcome.map(Outcome::as_str).serialize(serializer)
}

fn class<S: Serializer>(class: &Option<Class>, serializer: S) -> Result<S::Ok, S::Error> {
    class.map(Class::as_str).serialize(serializer)
}

fn status<S: Serializer>(status: &Option<StatusCode>, serializer: S) -> Result<S::Ok, S::Error> {
    status.map(|status| status.as_u16()).serialize(serializer)
}

fn grpc<S: Serializer>(code: &Option<GrpcCode>, serializer: S) -> Result<S::Ok, S::Error> {
    code.map(GrpcCode::as_str).serialize(serializer)
}

fn metadata<S: Serializer>(metadata: &Metadata, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metadata.iter())
}

fn whole_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds, to the microsecond.
pub(crate) fn millis<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[expect(clippy::cast_precision_loss, reason = "285 years are exact")]
    let millis = duration.map(|duration| duration.as_micros() as f64 / 1_000.0);
    millis.serialize(serializer)
}
