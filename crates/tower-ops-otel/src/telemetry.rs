use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, global};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::sync::{mpsc, oneshot, watch};
use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::RecorderHandle;
use tower_ops_core::sync::Mutex;
use tower_ops_trace::Sampling;
use tracing::level_filters::LevelFilter;

use crate::builder::{Start, TelemetryBuilder};
use crate::closing::Closing;
use crate::counts::{Counts, ExportCounts};
use crate::decided::{DecidedIds, DecidedSampler};
use crate::otlp::OtlpSetup;
use crate::propagation::Propagation;
use crate::queue::Queue;
use crate::settings::{Destination, SamplerChoice, Signal};
use crate::signals::{QueueLogs, QueueSpans, SendMetrics};
use crate::thread::{self, MetricsWork, Sink, ThreadEnd, Work};

/// The telemetry of a service: it exports while this lives.
///
/// Clones are the same one. When the last is dropped, everything is exported that waits, for as
/// long as the shutdown's timeout allows; [`shutdown`](Self::shutdown) does so without blocking.
///
/// # Examples
///
/// ```
/// use tower_ops_otel::Telemetry;
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let telemetry = Telemetry::builder("orders", "1.4.2").environment("production").start()?;
/// let subscriber = tracing_subscriber::registry().with(telemetry.layer());
/// # let _ = subscriber;
/// # Ok::<(), tower_ops_otel::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Telemetry {
    guard: Arc<Guard>,
}

/// What layers and observers share with the [`Telemetry`]. It does not keep that alive.
pub(crate) struct Shared {
    pub(crate) tracer: Option<SdkTracer>,
    pub(crate) propagation: Propagation,
    log_level: LevelFilter,
    tracer_provider: Option<SdkTracerProvider>,
    pub(crate) logger_provider: Option<SdkLoggerProvider>,
    meter_provider: Option<SdkMeterProvider>,
    sampling: SamplerChoice,
    spans: Arc<Counts>,
    logs: Arc<Counts>,
    warnings: Vec<String>,
    checked: AtomicBool,
}

/// Ends the telemetry when it is dropped.
struct Guard {
    shared: Arc<Shared>,
    closing: watch::Sender<Option<Duration>>,
    end: Option<ThreadEnd>,
    metrics_end: Mutex<Option<oneshot::Sender<()>>>,
    timeout: Duration,
}

impl Telemetry {
    /// Sets up the telemetry of a service: `service.name`, `service.version`.
    pub fn builder(service: impl Into<String>, version: impl Into<String>) -> TelemetryBuilder {
        TelemetryBuilder::new(service.into(), version.into())
    }

    pub(crate) fn start(start: Start) -> Result<Self, ConfigError> {
        let mut settings = start.settings;
        let mut warnings = start.warnings;
        let resource = start.described.resource(&settings);
        let spans = Arc::new(Counts::default());
        let logs = Arc::new(Counts::default());
        let (closing, news) = Closing::new();
        let propagation = Propagation::new(&settings.formats, settings.sampling.ratio);

        if settings.disabled {
            settings.traces = Destination::default();
            settings.metrics = Destination::default();
            settings.logs = Destination::default();
        }
        let mut sink = |destination: Destination, signal: Signal| {
            if !destination.is_some() {
                return None;
            }
            let console = destination.console;
            let otlp = destination.otlp.and_then(|otlp| {
                let setup = OtlpSetup::new(otlp);
                setup
                    .map_err(|problem| {
                        let name = signal.name();
                        warnings.push(format!("{problem}: no {name} are exported by OTLP"));
                    })
                    .ok()
            });
            (console || otlp.is_some()).then_some(Sink { otlp, console })
        };
        let span_sink = sink(settings.traces, Signal::Traces);
        let metric_sink = sink(settings.metrics, Signal::Metrics);
        let log_sink = sink(settings.logs, Signal::Logs);

        let mut work = Work {
            resource: resource.clone(),
            limits: settings.value_limits,
            log_level: settings.log_level,
            spans: None,
            logs: None,
            metrics: None,
        };
        let tracer_provider = span_sink.map(|sink| {
            let (queue, outlet) = Queue::new(settings.span_batch, Arc::clone(&spans));
            work.spans = Some((outlet, sink));
            SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_id_generator(DecidedIds::default())
                .with_sampler(DecidedSampler::new(settings.sampling))
                .with_span_limits(settings.span_limits)
                .with_span_processor(QueueSpans(queue))
                .build()
        });
        let logger_provider = log_sink.map(|sink| {
            let (queue, outlet) = Queue::new(settings.log_batch, Arc::clone(&logs));
            work.logs = Some((outlet, sink));
            SdkLoggerProvider::builder()
                .with_resource(resource.clone())
                .with_log_processor(QueueLogs(queue))
                .build()
        });
        let mut metrics_end = None;
        let meter_provider = metric_sink.map(|sink| {
            let (jobs, receiver) = mpsc::channel(1);
            let (end, last) = oneshot::channel();
            metrics_end = Some(end);
            work.metrics = Some(MetricsWork {
                jobs: receiver,
                sink,
                timeout: settings.metric_timeout,
                last,
            });
            let temporality = settings.temporality;
            let reader = PeriodicReader::builder(SendMetrics { jobs, temporality })
                .with_interval(settings.metric_interval)
                .build();
            SdkMeterProvider::builder()
                .with_resource(resource.clone())
                .with_reader(reader)
                .build()
        });
        let exports = work.spans.is_some() || work.logs.is_some() || work.metrics.is_some();
        let mut end = None;
        if exports {
            match thread::start(work, news) {
                Ok(started) => end = Some(started),
                Err(error) => {
                    let problem = format!("the telemetry thread: cannot be started: {error}");
                    ConfigError::from_problems("the telemetry", vec![problem])?;
                }
            }
        }

        let scope = InstrumentationScope::builder("tower-ops")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let shared = Shared {
            tracer: tracer_provider
                .as_ref()
                .map(|provider| provider.tracer_with_scope(scope)),
            propagation,
            log_level: settings.log_level,
            tracer_provider,
            logger_provider,
            meter_provider,
            sampling: settings.sampling,
            spans,
            logs,
            warnings,
            checked: AtomicBool::new(false),
        };
        if start.globals {
            shared.set_globals();
        }
        shared.spans.publish_at_start(&start.recorder);
        let guard = Guard {
            shared: Arc::new(shared),
            closing,
            end,
            metrics_end: Mutex::new(metrics_end),
            timeout: start.shutdown_timeout,
        };
        Ok(Self {
            guard: Arc::new(guard),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.guard.shared
    }

    /// Returns what is wrong in the environment, or not honoured: each a sentence.
    ///
    /// They are logged by [`check`](Self::check).
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.guard.shared.warnings
    }

    /// Returns whether spans are exported at all.
    #[must_use]
    pub fn exports_spans(&self) -> bool {
        self.guard.shared.tracer.is_some()
    }

    /// Returns which traces are to be recorded, by `OTEL_TRACES_SAMPLER` or the builder: for
    /// [`Spans`](tower_ops_trace::Spans), which take the decision. Rules of routes can be added.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        let SamplerChoice {
            parent_based,
            ratio,
        } = self.guard.shared.sampling;
        let sampling = Sampling::new().with_ratio(ratio);
        if parent_based {
            sampling
        } else {
            sampling.without_caller()
        }
    }

    /// Returns what became of the spans that have ended.
    #[must_use]
    pub fn span_counts(&self) -> ExportCounts {
        self.guard.shared.spans.snapshot()
    }

    /// Returns what became of the log records.
    #[must_use]
    pub fn log_counts(&self) -> ExportCounts {
        self.guard.shared.logs.snapshot()
    }

    /// Publishes the counts of spans there too, with all that was counted before: for a recorder
    /// that was not there at the start. The first call only.
    pub fn publish(&self, recorder: &RecorderHandle) {
        self.guard.shared.spans.publish_later(recorder);
    }

    /// Returns OpenTelemetry's provider of tracers, if spans are exported.
    #[must_use]
    pub fn tracer_provider(&self) -> Option<&SdkTracerProvider> {
        self.guard.shared.tracer_provider.as_ref()
    }

    /// Returns OpenTelemetry's provider of loggers, if logs are exported.
    #[must_use]
    pub fn logger_provider(&self) -> Option<&SdkLoggerProvider> {
        self.guard.shared.logger_provider.as_ref()
    }

    /// Returns OpenTelemetry's provider of meters, if metrics are exported.
    #[must_use]
    pub fn meter_provider(&self) -> Option<&SdkMeterProvider> {
        self.guard.shared.meter_provider.as_ref()
    }

    /// Logs the [warnings](Self::warnings), and one if the subscriber has no
    /// [layer](Self::layer) that this version of OpenTelemetry can work with. The first call only:
    /// call it once the subscriber is installed.
    pub fn check(&self) {
        self.guard.shared.check();
    }

    /// Exports what waits, and ends. All signals at once, within the shutdown's timeout.
    ///
    /// What ends later is dropped and counted. Calling it again waits for the same end.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the end goes on all the same.
    pub async fn shutdown(&self) {
        self.guard.close();
        if let Some(end) = &self.guard.end {
            end.wait().await;
        }
    }
}

impl Shared {
    fn set_globals(&self) {
        if let Some(provider) = &self.tracer_provider {
            global::set_tracer_provider(provider.clone());
        }
        if let Some(provider) = &self.meter_provider {
            global::set_meter_provider(provider.clone());
        }
        global::set_text_map_propagator(self.propagation.clone());
    }

    pub(crate) fn check(&self) {
        // Only read by all but the first: every exchange comes here.
        if self.checked.load(Ordering::Relaxed) || self.checked.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.log_level < LevelFilter::WARN {
            return;
        }
        for warning in &self.warnings {
            tracing::warn!(target: "tower_ops_otel", "{warning}");
        }
        if self.tracer.is_some()
            && let Some(warning) = crate::layer::mismatch()
        {
            tracing::warn!(target: "tower_ops_otel", "{warning}");
        }
    }
}

impl Guard {
    /// Begins the end. The time runs from the first call.
    fn close(&self) {
        self.closing.send_if_modified(|closing| {
            let begins = closing.is_none();
            closing.get_or_insert(self.timeout);
            begins
        });
        let Some(end) = self.metrics_end.lock().take() else {
            return;
        };
        let Some(provider) = self.shared.meter_provider.clone() else {
            return;
        };
        let timeout = self.timeout;
        // The SDK's reader collects and exports once more, and blocks meanwhile: beside the others.
        // Where no thread can be had, the metrics since the last export are lost.
        let _ = std::thread::Builder::new()
            .name("tower-ops-otel-end".to_owned())
            .spawn(move || {
                let _ = provider.shutdown_with_timeout(timeout);
                drop(end);
            });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close();
        if let Some(end) = &self.end {
            // The thread keeps to the deadline; should it not run at all, this does.
            end.wait_timeout(self.timeout + SLACK);
        }
    }
}

const SLACK: Duration = Duration::from_millis(500);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("tracer", &self.tracer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("shared", &self.shared)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
