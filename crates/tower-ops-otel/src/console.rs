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

/// Writes a whole batch at once. An error means that standard output is closed, and is ignored.
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use opentelemetry::trace::{SpanContext, SpanKind};
    use opentelemetry::{InstrumentationScope, KeyValue};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
    use tower_ops_observe::TraceIds;

    use super::*;
    use crate::span_context::to_otel;

    #[test]
    fn a_span_is_one_line_whatever_is_in_it() {
        let ids = TraceIds::new(0xab, 0xcd, 1).unwrap();
        let context: SpanContext = to_otel(ids, false, None);
        let hostile = "\u{1b}[31m\nspan";
        let span_data = SpanData {
            parent_span_id: SpanId::from(0xef),
            span_context: context,
            parent_span_is_remote: false,
            span_kind: SpanKind::Server,
            name: hostile.into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH + Duration::from_millis(3),
            attributes: vec![KeyValue::new(hostile, hostile)],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::error(hostile),
            instrumentation_scope: InstrumentationScope::builder("test").build(),
        };
        let mut line = String::new();
        span(&span_data, &mut line);
        let quoted = r#""\u{1b}[31m\nspan""#;
        let wanted = format!(
            "span {quoted} kind=Server duration=3ms \
             trace_id=000000000000000000000000000000ab span_id=00000000000000cd \
             parent_id=00000000000000ef status=error {quoted} {quoted}={quoted}\n"
        );
        assert_eq!(line, wanted);
    }
}
