//! One line for a person, for each span, log record and metric.
//!
//! Texts that come from outside are written as Rust's `Debug` does: no line feed and no escape
//! sequence gets into a terminal.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};

use opentelemetry::trace::{SpanId, Status};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::logs::SdkLogRecord;
use opentelemetry_sdk::trace::SpanData;

/// Writes a whole batch at once. Nobody can be told if standard output is closed.
pub(crate) fn write(lines: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

pub(crate) fn span(span: &SpanData, line: &mut String) {
    let duration = span
        .end_time
        .duration_since(span.start_time)
        .unwrap_or_default();
    let context = &span.span_context;
    let _ = write!(
        line,
        "span {:?} kind={:?} duration={duration:?} trace_id={} span_id={}",
        span.name,
        span.span_kind,
        context.trace_id(),
        context.span_id(),
    );
    if span.parent_span_id != SpanId::INVALID {
        let _ = write!(line, " parent_id={}", span.parent_span_id);
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => line.push_str(" status=ok"),
        Status::Error { description } => {
            let _ = write!(line, " status=error {description:?}");
        }
    }
    for attribute in &span.attributes {
        let _ = write!(
            line,
            " {:?}={:?}",
            attribute.key.as_str(),
            attribute.value.as_str()
        );
    }
    line.push('\n');
}

pub(crate) fn log(record: &SdkLogRecord, line: &mut String) {
    let _ = write!(
        line,
        "log {} {:?}",
        record.severity_text().unwrap_or("-"),
        record.body()
    );
    if let Some(context) = record.trace_context() {
        let _ = write!(
            line,
            " trace_id={} span_id={}",
            context.trace_id, context.span_id
        );
    }
    for (key, value) in record.attributes_iter() {
        let _ = write!(line, " {:?}={value:?}", key.as_str());
    }
    line.push('\n');
}

pub(crate) fn metrics(request: &ExportMetricsServiceRequest, lines: &mut String) {
    let scopes = request
        .resource_metrics
        .iter()
        .flat_map(|of| &of.scope_metrics);
    for metric in scopes.flat_map(|of| &of.metrics) {
        let _ = writeln!(lines, "metric {:?} {:?}", metric.name, metric.data);
    }
}
