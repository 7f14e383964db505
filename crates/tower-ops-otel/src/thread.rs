//! The telemetry thread: all exports are on it, and nothing of what happens there is traced.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use tokio::runtime;
use tokio::sync::{mpsc as jobs, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tower_ops_core::sync::Mutex;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::closing::Closing;
use crate::console;
use crate::counts::DropReason;
use crate::otlp::{ExportError, OtlpClient, OtlpSetup, Taken};
use crate::queue::{Batch, Outlet};
use crate::settings::ValueLimits;
use crate::signals::{Entry, LogEntry, MetricsJob};

/// Where a signal goes, before there is a runtime.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) otlp: Option<OtlpSetup>,
    pub(crate) console: bool,
}

/// What the thread works on.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) resource: Resource,
    pub(crate) limits: ValueLimits,
    /// Of the lines about exports.
    pub(crate) log_level: LevelFilter,
    pub(crate) spans: Option<(Outlet<SpanData>, Sink)>,
    pub(crate) logs: Option<(Outlet<LogEntry>, Sink)>,
    pub(crate) metrics: Option<MetricsWork>,
}

#[derive(Debug)]
pub(crate) struct MetricsWork {
    pub(crate) jobs: jobs::Receiver<MetricsJob>,
    pub(crate) sink: Sink,
    pub(crate) timeout: Duration,
    /// Resolves, with an error or without, once the SDK's reader sends nothing more.
    pub(crate) last: oneshot::Receiver<()>,
}

/// Dropped when the thread has ended, however it ended.
#[derive(Debug)]
struct Ended {
    _blocking: mpsc::Sender<()>,
    _waiting: watch::Sender<()>,
}

/// The end of the thread.
#[derive(Debug)]
pub(crate) struct ThreadEnd {
    blocking: Mutex<mpsc::Receiver<()>>,
    waiting: watch::Receiver<()>,
}

impl ThreadEnd {
    /// Blocks until the thread has ended, but no longer than that.
    pub(crate) fn wait_timeout(&self, timeout: Duration) {
        // Nothing is ever sent: an error is what is waited for.
        let _ = self.blocking.lock().recv_timeout(timeout);
    }

    /// Returns once the thread has ended.
    pub(crate) async fn wait(&self) {
        let _ = self.waiting.clone().changed().await;
    }
}

/// Starts the thread.
pub(crate) fn start(work: Work, closing: Closing) -> io::Result<ThreadEnd> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name("tower-ops-otel-dns")
        .build()?;
    let (blocking_sender, blocking) = mpsc::channel();
    let (waiting_sender, waiting) = watch::channel(());
    let ended = Ended {
        _blocking: blocking_sender,
        _waiting: waiting_sender,
    };
    let body = move || {
        let _ended = ended;
        // For life: what tonic and hyper trace on this thread must not become spans to be exported.
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        runtime.block_on(async {
            tokio::select! {
                () = closing.over() => {}
                () = run(work, &closing) => {}
            }
        });
        // A look-up of a name that hangs is not waited for.
        runtime.shutdown_background();
    };
    std::thread::Builder::new()
        .name("tower-ops-otel".to_owned())
        .spawn(body)?;
    Ok(ThreadEnd {
        blocking: Mutex::new(blocking),
        waiting,
    })
}

/// Dropped at the deadline: what is on its way then counts as lost, and what waits as well.
async fn run(work: Work, closing: &Closing) {
    let resource = ResourceAttributesWithSchema::from(&work.resource);
    let (limits, level) = (work.limits, work.log_level);
    let spans = async {
        if let Some((outlet, sink)) = work.spans {
            let exporter = Exporter::new(sink, closing, outlet.settings().timeout, level);
            export_batches(outlet, exporter, closing, &resource, &limits).await;
        }
    };
    let logs = async {
        if let Some((outlet, sink)) = work.logs {
            let exporter = Exporter::new(sink, closing, outlet.settings().timeout, level);
            export_batches(outlet, exporter, closing, &resource, &limits).await;
        }
    };
    let metrics = async {
        if let Some(work) = work.metrics {
            let exporter = Exporter::new(work.sink, closing, work.timeout, level);
            export_metrics(work.jobs, work.last, exporter).await;
        }
    };
    tokio::join!(spans, logs, metrics);
    // There may be nothing to export at all; the thread ends when it is asked to.
    closing.begun().await;
}

async fn export_batches<T: Entry>(
    outlet: Outlet<T>,
    mut exporter: Exporter,
    closing: &Closing,
    resource: &ResourceAttributesWithSchema,
    limits: &ValueLimits,
) {
    let delay = outlet.settings().delay;
    let full = outlet.settings().batch;
    while !closing.has_begun() {
        // Counted from the last export, not from the last span: nothing waits longer than that.
        let due = Instant::now() + delay;
        tokio::select! {
            () = closing.begun() => {}
            () = outlet.full_batch() => {}
            () = sleep_until(due) => {}
        }
        while let Some(batch) = outlet.take() {
            exporter.export_batch(batch, resource, limits).await;
            if outlet.len() < full || closing.has_begun() {
                break;
            }
        }
    }
    outlet.close();
    while let Some(batch) = outlet.take() {
        exporter.export_batch(batch, resource, limits).await;
    }
}

async fn export_metrics(
    mut jobs: jobs::Receiver<MetricsJob>,
    mut last: oneshot::Receiver<()>,
    mut exporter: Exporter,
) {
    loop {
        let job = tokio::select! {
            job = jobs.recv() => job,
            _ = &mut last => None,
        };
        let Some(MetricsJob { request, done }) = job else {
            return;
        };
        if exporter.console {
            let mut lines = String::new();
            console::metrics(&request, &mut lines);
            console::write(&lines);
        }
        let result = match &mut exporter.otlp {
            Some(client) => client.export(&request).await,
            None => Ok(Taken::default()),
        };
        exporter.log("metrics", 0, &result);
        // The SDK's reader may have given up.
        let _ = done.send(result.map(drop).map_err(|error| error.text));
    }
}

/// Exports one signal, one batch at a time.
#[derive(Debug)]
struct Exporter {
    otlp: Option<OtlpClient>,
    console: bool,
    log_level: LevelFilter,
    /// Whether the last export failed, and how many entries were lost since the last success.
    failing: bool,
    lost: u64,
}

impl Exporter {
    fn new(sink: Sink, closing: &Closing, limit: Duration, log_level: LevelFilter) -> Self {
        let otlp = sink.otlp;
        Self {
            otlp: otlp.map(|setup| setup.into_client(closing.clone(), limit)),
            console: sink.console,
            log_level,
            failing: false,
            lost: 0,
        }
    }

    async fn export_batch<T: Entry>(
        &mut self,
        mut batch: Batch<T>,
        resource: &ResourceAttributesWithSchema,
        limits: &ValueLimits,
    ) {
        let entries = std::mem::take(&mut batch.entries);
        if self.console {
            let mut lines = String::new();
            entries.iter().for_each(|entry| entry.print(&mut lines));
            console::write(&lines);
        }
        let result = match &mut self.otlp {
            Some(client) => client.export(&T::request(entries, resource, limits)).await,
            None => Ok(Taken::default()),
        };
        self.log(T::NAME, batch.len(), &result);
        let rejected = result.map(|taken| taken.rejected);
        batch.settle(rejected.map_err(|error| error.reason));
    }

    fn logs(&self, level: Level) -> bool {
        level <= self.log_level
    }

    /// Logs the first of a row of failures, and the first success after it.
    fn log(&mut self, what: &'static str, entries: u64, result: &Result<Taken, ExportError>) {
        match result {
            Err(error) => {
                self.lost += entries;
                let why = match error.reason {
                    DropReason::Timeout => "does not answer in time",
                    _ => "does not take them",
                };
                let error = error.text.as_str();
                if self.failing && self.logs(Level::DEBUG) {
                    tracing::debug!(target: "tower_ops_otel", error, "{what} are lost again");
                } else if !self.failing && self.logs(Level::WARN) {
                    tracing::warn!(
                        target: "tower_ops_otel",
                        error,
                        "{what} are lost until further notice: the collector {why}",
                    );
                }
                self.failing = true;
            }
            Ok(taken) => {
                let lost = std::mem::take(&mut self.lost);
                if std::mem::take(&mut self.failing) && self.logs(Level::INFO) {
                    tracing::info!(target: "tower_ops_otel", lost, "the collector takes {what} again");
                }
                if (taken.rejected > 0 || !taken.text.is_empty()) && self.logs(Level::WARN) {
                    let (rejected, reason) = (taken.rejected, taken.text.as_str());
                    tracing::warn!(
                        target: "tower_ops_otel",
                        rejected,
                        reason,
                        "the collector refuses {what}",
                    );
                }
            }
        }
    }
}
