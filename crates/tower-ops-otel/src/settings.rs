//! What is configured, once the environment and the builder are read: the environment wins.
//!
//! What is wrong in the environment is a warning and falls back to the default, as the
//! specification demands; an empty value counts as unset.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::trace::SpanLimits;
use tower_ops_trace::Ratio;

mod otlp;
mod reader;
mod table;

pub(crate) use self::otlp::{OtlpSettings, TlsFiles};
use self::reader::Reader;
pub(crate) use self::table::find;
#[cfg(test)]
pub(crate) use self::table::{ENVIRONMENT, markdown};

/// How OTLP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Protobuf over gRPC: `grpc`, by convention on port 4317.
    Grpc,
    /// Protobuf over HTTP/1.1: `http/protobuf`, by convention on port 4318. The default.
    HttpProtobuf,
}

/// What telemetry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    const fn upper(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }
}

/// Where one signal goes. It goes nowhere if both are off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destination {
    pub(crate) otlp: Option<OtlpSettings>,
    pub(crate) console: bool,
}

impl Destination {
    pub(crate) const fn is_some(&self) -> bool {
        self.otlp.is_some() || self.console
    }
}

/// How what has ended is put together and sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSettings {
    pub(crate) queue: usize,
    pub(crate) batch: usize,
    pub(crate) delay: Duration,
    pub(crate) timeout: Duration,
}

/// Which traces are recorded that nobody has decided about before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SamplerChoice {
    /// Whether the decision of a caller, where there is one, stands.
    pub(crate) parent_based: bool,
    /// The share of the other traces.
    pub(crate) ratio: Ratio,
}

/// How long an attribute's value may be, in characters, and how many a log record may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ValueLimits {
    pub(crate) span_length: Option<usize>,
    pub(crate) log_length: Option<usize>,
    pub(crate) log_count: Option<usize>,
}

/// What carries a context from service to service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    TraceContext,
    Baggage,
    B3,
    B3Multi,
}

/// The level of the lines that this crate logs about itself.
pub(crate) type LogLevel = tracing::level_filters::LevelFilter;

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) disabled: bool,
    pub(crate) service: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) formats: Vec<Format>,
    pub(crate) traces: Destination,
    pub(crate) metrics: Destination,
    pub(crate) logs: Destination,
    pub(crate) sampling: SamplerChoice,
    pub(crate) span_limits: SpanLimits,
    pub(crate) value_limits: ValueLimits,
    pub(crate) span_batch: BatchSettings,
    pub(crate) log_batch: BatchSettings,
    pub(crate) metric_interval: Duration,
    pub(crate) metric_timeout: Duration,
    pub(crate) temporality: Temporality,
    pub(crate) log_level: LogLevel,
}

/// What the builder chose, for what the environment leaves open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) metrics: bool,
    pub(crate) logs: bool,
    pub(crate) console: bool,
}

impl Settings {
    /// Reads the settings from `values`, in which the environment stands over the builder's own.
    /// Returns what is wrong or not honoured as well, each a sentence.
    pub(crate) fn read(
        values: &BTreeMap<String, String>,
        choices: &Choices,
    ) -> (Self, Vec<String>) {
        let mut reader = Reader::new(values);
        let settings = Self::read_from(&mut reader, choices);
        (settings, reader.finish())
    }

    fn read_from(reader: &mut Reader<'_>, choices: &Choices) -> Self {
        let disabled = reader.bool("OTEL_SDK_DISABLED").unwrap_or(false);
        let length = reader.number("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0);
        let count = reader.number("OTEL_ATTRIBUTE_COUNT_LIMIT", 0);
        Self {
            disabled,
            service: reader.text("OTEL_SERVICE_NAME"),
            attributes: reader.pairs("OTEL_RESOURCE_ATTRIBUTES"),
            formats: formats(reader),
            traces: destination(reader, Signal::Traces, true, choices.console),
            metrics: destination(reader, Signal::Metrics, choices.metrics, choices.console),
            logs: destination(reader, Signal::Logs, choices.logs, choices.console),
            sampling: sampling(reader),
            span_limits: span_limits(reader, count),
            value_limits: ValueLimits {
                span_length: reader
                    .number("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0)
                    .or(length),
                log_length: reader
                    .number("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0)
                    .or(length),
                log_count: reader
                    .number("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", 0)
                    .or(count),
            },
            span_batch: batch(reader, BSP, Duration::from_secs(5)),
            log_batch: batch(reader, BLRP, Duration::from_secs(1)),
            metric_interval: reader
                .millis("OTEL_METRIC_EXPORT_INTERVAL")
                .unwrap_or(Duration::from_secs(60)),
            metric_timeout: reader
                .millis("OTEL_METRIC_EXPORT_TIMEOUT")
                .unwrap_or(Duration::from_secs(30)),
            temporality: reader
                .one_of(
                    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
                    &[
                        ("cumulative", Temporality::Cumulative),
                        ("delta", Temporality::Delta),
                        ("lowmemory", Temporality::LowMemory),
                    ],
                )
                .unwrap_or(Temporality::Cumulative),
            log_level: reader
                .one_of(
                    "OTEL_LOG_LEVEL",
                    &[
                        ("none", LogLevel::OFF),
                        ("error", LogLevel::ERROR),
                        ("warn", LogLevel::WARN),
                        ("warning", LogLevel::WARN),
                        ("info", LogLevel::INFO),
                        ("debug", LogLevel::DEBUG),
                        ("trace", LogLevel::TRACE),
                    ],
                )
                .unwrap_or(LogLevel::INFO),
        }
    }
}

fn formats(reader: &mut Reader<'_>) -> Vec<Format> {
    let known = [
        ("tracecontext", Some(Format::TraceContext)),
        ("baggage", Some(Format::Baggage)),
        ("b3", Some(Format::B3)),
        ("b3multi", Some(Format::B3Multi)),
        ("none", None),
    ];
    let Some(chosen) = reader.list("OTEL_PROPAGATORS", &known) else {
        return vec![Format::TraceContext, Format::Baggage];
    };
    let mut formats = Vec::new();
    for format in chosen.into_iter().flatten() {
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    formats
}

#[derive(Clone, Copy)]
enum Exporter {
    Otlp,
    Console,
    Prometheus,
    None,
}

/// Where a signal goes. By default that is OTLP where an endpoint is set, and nowhere else: the
/// specification would send to localhost.
fn destination(
    reader: &mut Reader<'_>,
    signal: Signal,
    wanted: bool,
    console: bool,
) -> Destination {
    let mut known = vec![
        ("otlp", Exporter::Otlp),
        ("console", Exporter::Console),
        ("none", Exporter::None),
    ];
    if signal == Signal::Metrics {
        known.push(("prometheus", Exporter::Prometheus));
    }
    let name = format!("OTEL_{}_EXPORTER", signal.upper());
    let chosen = reader.list(&name, &known);
    let uses_otlp = chosen.as_ref().map_or(wanted, |chosen| {
        chosen
            .iter()
            .any(|exporter| matches!(exporter, Exporter::Otlp))
    });
    let otlp = reader.warning_if(uses_otlp, |reader| otlp::read(reader, signal));
    match chosen {
        Some(chosen) => Destination {
            otlp: otlp.filter(|_| uses_otlp),
            console: chosen
                .iter()
                .any(|exporter| matches!(exporter, Exporter::Console)),
        },
        None if wanted => Destination {
            otlp: otlp.filter(|otlp| otlp.endpoint_is_set),
            console,
        },
        None => Destination::default(),
    }
}

fn sampling(reader: &mut Reader<'_>) -> SamplerChoice {
    #[derive(Clone, Copy)]
    enum Root {
        On,
        Off,
        Ratio,
    }
    let kind = reader.one_of(
        "OTEL_TRACES_SAMPLER",
        &[
            ("always_on", (false, Root::On)),
            ("always_off", (false, Root::Off)),
            ("traceidratio", (false, Root::Ratio)),
            ("parentbased_always_on", (true, Root::On)),
            ("parentbased_always_off", (true, Root::Off)),
            ("parentbased_traceidratio", (true, Root::Ratio)),
        ],
    );
    let ratio = reader.ratio("OTEL_TRACES_SAMPLER_ARG");
    if kind.is_none() && ratio.is_some() {
        reader.warn(
            "OTEL_TRACES_SAMPLER_ARG",
            "is ignored: OTEL_TRACES_SAMPLER chooses no sampler that takes a ratio",
        );
    }
    let (parent_based, root) = kind.unwrap_or((true, Root::On));
    SamplerChoice {
        parent_based,
        ratio: match root {
            Root::On => Ratio::ALL,
            Root::Off => Ratio::NONE,
            Root::Ratio => ratio.unwrap_or(Ratio::ALL),
        },
    }
}

fn span_limits(reader: &mut Reader<'_>, attributes: Option<usize>) -> SpanLimits {
    let mut limits = SpanLimits::default();
    let attributes = reader
        .number("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 0)
        .or(attributes);
    let events = reader.number("OTEL_SPAN_EVENT_COUNT_LIMIT", 0);
    let links = reader.number("OTEL_SPAN_LINK_COUNT_LIMIT", 0);
    let of_events = reader.number("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", 0);
    let of_links = reader.number("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", 0);
    for (limit, value) in [
        (&mut limits.max_attributes_per_span, attributes),
        (&mut limits.max_events_per_span, events),
        (&mut limits.max_links_per_span, links),
        (&mut limits.max_attributes_per_event, of_events),
        (&mut limits.max_attributes_per_link, of_links),
    ] {
        if let Some(value) = value {
            *limit = u32::try_from(value).unwrap_or(u32::MAX);
        }
    }
    limits
}

/// Delay, timeout, queue and batch.
const BSP: [&str; 4] = [
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
];
const BLRP: [&str; 4] = [
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
];

/// The room of a queue is allocated at the start.
const MAX_QUEUE: usize = 1 << 20;

fn batch(reader: &mut Reader<'_>, names: [&str; 4], delay: Duration) -> BatchSettings {
    let [delay_name, timeout_name, queue_name, batch_name] = names;
    let mut queue = reader.number(queue_name, 1).unwrap_or(2_048);
    if queue > MAX_QUEUE {
        reader.warn(
            queue_name,
            &format!("is more than {MAX_QUEUE}, which is taken instead"),
        );
        queue = MAX_QUEUE;
    }
    let chosen = reader.number(batch_name, 1);
    if chosen.is_some_and(|batch| batch > queue) {
        reader.warn(
            batch_name,
            &format!("is more than the queue holds: {queue} is taken instead"),
        );
    }
    BatchSettings {
        queue,
        batch: chosen.unwrap_or(512).min(queue),
        delay: reader.millis(delay_name).unwrap_or(delay),
        timeout: reader
            .millis(timeout_name)
            .unwrap_or(Duration::from_secs(30)),
    }
}

#[cfg(test)]
mod tests;
