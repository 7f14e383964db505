use tower_ops_core::recorder::RecorderHandle;
#[cfg(feature = "otel")]
use tower_ops_lifecycle::Hook;
use tower_ops_lifecycle::Lifecycle;
use tower_ops_trace::{AccessLog, Spans};

use super::OpsBuilder;
use crate::layer::observers::Tracer;

/// How requests are traced.
#[derive(Debug)]
pub(super) struct Trace {
    spans: Option<Spans>,
    access_log: Option<AccessLog>,
    #[cfg(feature = "otel")]
    telemetry: Option<tower_ops_otel::Telemetry>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            spans: Some(Spans::new()),
            access_log: Some(AccessLog::new()),
            #[cfg(feature = "otel")]
            telemetry: None,
        }
    }
}

impl Trace {
    /// Makes the observer. What waits to be exported is sent after all other hooks of the lifecycle.
    #[cfg_attr(
        not(feature = "otel"),
        expect(unused_variables, reason = "nothing is exported")
    )]
    pub(super) fn build(
        self,
        lifecycle: &Lifecycle,
        recorder: &RecorderHandle,
    ) -> Option<Spans<Tracer>> {
        #[cfg(feature = "otel")]
        let tracer = self.telemetry.map(|telemetry| {
            telemetry.publish(recorder);
            let tracer = telemetry.tracer();
            let hook = Hook::new("telemetry").telemetry();
            lifecycle.on_stop(hook, async move || telemetry.shutdown().await);
            tracer
        });
        #[cfg(not(feature = "otel"))]
        let tracer = ();
        let mut spans = self.spans?;
        if let Some(log) = self.access_log {
            spans = spans.with_access_log(log);
        }
        Some(spans.with_tracer(tracer))
    }
}

/// Traces and logs.
impl OpsBuilder {
    /// Changes how requests are traced: whom to trust, which traces are recorded, what a span shows.
    /// By default the caller's trace goes on, and what the caller wants or what begins here is
    /// recorded.
    ///
    /// The access log has [a method of its own](Self::access_log), which replaces one that is set
    /// here.
    ///
    /// # Examples
    ///
    /// At the edge, where strangers must not choose trace ids, with a tenth of the traces recorded:
    ///
    /// ```
    /// use tower_ops::Ops;
    /// use tower_ops::trace::{Inbound, Ratio, RouteRule, Sampling};
    ///
    /// let sampling = Sampling::new()
    ///     .with_ratio(Ratio::new(0.1)?)
    ///     .with_route("/ping", RouteRule::Off);
    /// let ops = Ops::builder("orders").trace(|spans| {
    ///     spans.with_inbound(Inbound::public_endpoint()).with_sampling(sampling)
    /// });
    /// # let _ = ops;
    /// # Ok::<_, tower_ops::trace::InvalidRatio>(())
    /// ```
    #[must_use]
    pub fn trace(mut self, change: impl FnOnce(Spans) -> Spans) -> Self {
        self.trace.spans = self.trace.spans.map(change);
        self
    }

    /// Changes the access log: an event of `tracing` at the end of each request, with the target
    /// `tower_ops::access`. On by default, for whatever subscriber the process has.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Ops;
    /// use tower_ops::trace::RouteRule;
    ///
    /// let ops = Ops::builder("orders")
    ///     .access_log(|log| log.with_path().with_route("/static/{*path}", RouteRule::Off));
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn access_log(mut self, change: impl FnOnce(AccessLog) -> AccessLog) -> Self {
        self.trace.access_log = self.trace.access_log.map(change);
        self
    }

    /// Logs nothing at the end of a request.
    #[must_use]
    pub fn without_access_log(mut self) -> Self {
        self.trace.access_log = None;
        self
    }

    /// Turns the spans of requests off, and with them their trace, the access log and what would be
    /// exported of them.
    #[must_use]
    pub fn without_spans(mut self) -> Self {
        self.trace.spans = None;
        self
    }

    /// Operates a log: `/loglevel` of the operations endpoint shows its filter, and changes it for
    /// who has a token for [writing](tower_ops_admin::TokensBuilder::write);
    /// `/logs` shows the last lines, if they are [kept](tower_ops_logs::LogsBuilder::ring), to those
    /// who may see [details](Self::request_details). What was lost is counted on `/metrics`.
    ///
    /// Installs nothing: start the log before, so that it has what happens meanwhile. `None` is no
    /// log, as [`Logs::active`](tower_ops_logs::Logs::active) returns it where the process has
    /// another subscriber.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Ops;
    /// use tower_ops::logs::{self, Logs};
    ///
    /// let _flushed_at_the_end = logs::init();
    /// let ops = Ops::builder("orders").logs(Logs::active());
    /// # let _ = ops;
    /// ```
    #[cfg(feature = "logs")]
    #[cfg_attr(docsrs, doc(cfg(feature = "logs")))]
    #[must_use]
    pub fn logs(mut self, logs: impl Into<Option<tower_ops_logs::Logs>>) -> Self {
        self.logs = logs.into();
        self
    }

    /// Exports the span of each request, and sends what waits after all hooks of the shutdown. What
    /// was exported and what was lost is counted on `/metrics`.
    ///
    /// The sampling becomes that of the telemetry, by `OTEL_TRACES_SAMPLER`: to add rules of routes,
    /// call [`trace`](Self::trace) afterwards with
    /// [`telemetry.sampling()`](tower_ops_otel::Telemetry::sampling).
    ///
    /// Installs nothing: what handlers trace is exported if the subscriber has
    /// [`telemetry.layer()`](tower_ops_otel::Telemetry::layer).
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Ops;
    /// use tower_ops::otel::Telemetry;
    ///
    /// let telemetry = Telemetry::builder("orders", env!("CARGO_PKG_VERSION")).start()?;
    /// // ... a subscriber with `telemetry.layer()` ...
    /// let ops = Ops::builder("orders").telemetry(telemetry);
    /// # let _ = ops;
    /// # Ok::<_, tower_ops::ConfigError>(())
    /// ```
    #[cfg(feature = "otel")]
    #[cfg_attr(docsrs, doc(cfg(feature = "otel")))]
    #[must_use]
    pub fn telemetry(mut self, telemetry: impl Into<Option<tower_ops_otel::Telemetry>>) -> Self {
        self.trace.telemetry = telemetry.into();
        if let Some(telemetry) = &self.trace.telemetry {
            let sampling = telemetry.sampling();
            self.trace.spans = self.trace.spans.map(|spans| spans.with_sampling(sampling));
        }
        self
    }

    /// Turns the spans on again.
    pub(crate) fn with_spans(mut self) -> Self {
        self.trace.spans.get_or_insert_with(Spans::new);
        self
    }

    /// Turns the access log on again.
    pub(crate) fn with_access_log(mut self) -> Self {
        self.trace.access_log.get_or_insert_with(AccessLog::new);
        self
    }

    pub(super) const fn has_logs(&self) -> bool {
        #[cfg(feature = "logs")]
        return self.logs.is_some();
        #[cfg(not(feature = "logs"))]
        false
    }
}
