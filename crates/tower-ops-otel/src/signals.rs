//! The three signals: what the SDK hands over, and what becomes of it.

use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use crate::console;
use crate::otlp::Export;
use crate::queue::Queue;
use crate::settings::ValueLimits;

/// What a batch of is exported.
pub(crate) trait Entry: Send + Sized + 'static {
    type Request: Export;

    const NAME: &'static str;

    fn request(
        entries: Vec<Self>,
        resource: &ResourceAttributesWithSchema,
        limits: &ValueLimits,
    ) -> Self::Request;

    /// Appends the line of the console.
    fn print(&self, line: &mut String);
}

impl Entry for SpanData {
    type Request = ExportTraceServiceRequest;

    const NAME: &'static str = "spans";

    fn request(
        entries: Vec<Self>,
        resource: &ResourceAttributesWithSchema,
        limits: &ValueLimits,
    ) -> Self::Request {
        let mut resource_spans = group_spans_by_resource_and_scope(entries, resource);
        if let Some(longest) = limits.span_length {
            let scopes = resource_spans.iter_mut().flat_map(|of| &mut of.scope_spans);
            for span in scopes.flat_map(|of| &mut of.spans) {
                shorten(&mut span.attributes, longest);
                for event in &mut span.events {
                    shorten(&mut event.attributes, longest);
                }
                for link in &mut span.links {
                    shorten(&mut link.attributes, longest);
                }
            }
        }
        ExportTraceServiceRequest { resource_spans }
    }

    fn print(&self, line: &mut String) {
        console::span(self, line);
    }
}

/// A log record with the scope that it comes from. Boxed, for it is large.
pub(crate) type LogEntry = Box<(SdkLogRecord, InstrumentationScope)>;

impl Entry for LogEntry {
    type Request = ExportLogsServiceRequest;

    const NAME: &'static str = "log records";

    fn request(
        entries: Vec<Self>,
        resource: &ResourceAttributesWithSchema,
        limits: &ValueLimits,
    ) -> Self::Request {
        let borrowed: Vec<_> = entries.iter().map(|entry| (&entry.0, &entry.1)).collect();
        let mut resource_logs =
            group_logs_by_resource_and_scope(&LogBatch::new(&borrowed), resource);
        let scopes = resource_logs.iter_mut().flat_map(|of| &mut of.scope_logs);
        for record in scopes.flat_map(|of| &mut of.log_records) {
            if let Some(most) = limits.log_count {
                let dropped = record.attributes.len().saturating_sub(most);
                record.attributes.truncate(most);
                record.dropped_attributes_count += u32::try_from(dropped).unwrap_or(u32::MAX);
            }
            if let Some(longest) = limits.log_length {
                shorten(&mut record.attributes, longest);
            }
        }
        ExportLogsServiceRequest { resource_logs }
    }

    fn print(&self, line: &mut String) {
        console::log(&self.0, line);
    }
}

/// Cuts texts, and those in lists, to that many characters.
fn shorten(attributes: &mut [KeyValue], longest: usize) {
    let values = attributes
        .iter_mut()
        .filter_map(|attribute| attribute.value.as_mut());
    values.for_each(|value| shorten_value(value, longest));
}

fn shorten_value(value: &mut AnyValue, longest: usize) {
    match &mut value.value {
        Some(any_value::Value::StringValue(text)) => {
            if let Some((end, _)) = text.char_indices().nth(longest) {
                text.truncate(end);
            }
        }
        Some(any_value::Value::ArrayValue(list)) => {
            for value in &mut list.values {
                shorten_value(value, longest);
            }
        }
        _ => {}
    }
}

/// Puts spans that have ended into the queue.
#[derive(Debug)]
pub(crate) struct QueueSpans(pub(crate) Arc<Queue<SpanData>>);

impl SpanProcessor for QueueSpans {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// The thread is closed by the guard: spans that end later are counted.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Puts log records into the queue.
#[derive(Debug)]
pub(crate) struct QueueLogs(pub(crate) Arc<Queue<LogEntry>>);

impl LogProcessor for QueueLogs {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.push(Box::new((record.clone(), scope.clone())));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// One collection of metrics on its way to the telemetry thread.
#[derive(Debug)]
pub(crate) struct MetricsJob {
    pub(crate) request: ExportMetricsServiceRequest,
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// Hands what the SDK's reader collects over to the telemetry thread, and waits for it there.
#[derive(Debug)]
pub(crate) struct SendMetrics {
    pub(crate) jobs: mpsc::Sender<MetricsJob>,
    pub(crate) temporality: Temporality,
}

impl PushMetricExporter for SendMetrics {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let (done, result) = oneshot::channel();
        let request = metrics.into();
        let failed = |text: String| Err(OTelSdkError::InternalFailure(text));
        if self.jobs.send(MetricsJob { request, done }).await.is_err() {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        match result.await {
            Ok(result) => result.or_else(failed),
            Err(_) => failed("the telemetry has ended".to_owned()),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        self.temporality
    }
}
