use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderName;
use tower_ops_connections::{Connections, ConnectionsBuilder};
use tower_ops_health::{Check, Details, Health, HealthBuilder};
use tower_ops_lifecycle::{Lifecycle, LifecycleBuilder};
use tower_ops_metrics::{Metrics, MetricsBuilder, Prometheus};
use tower_ops_observe::ObserveLayer;
use tower_ops_request_id::RequestIds;
use tower_ops_requests::{RequestTracker, RequestTrackerBuilder};
use tower_ops_trace::Spans;

use crate::connection_facts::ConnectionFacts;
use crate::drain;
use crate::error::ConfigError;
use crate::layer::OpsLayer;
use crate::names::{is_grpc_method, is_of_http};
use crate::ops::{Ops, Parts};
use crate::recorder::{Recorder, build_metrics};
use crate::token::{self, Token};

/// From a health check to a day: in seconds.
const LIFETIMES: [f64; 10] = [
    0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 28_800.0, 86_400.0,
];

/// How many requests come on a connection.
const REQUESTS: [f64; 8] = [0.0, 1.0, 2.0, 5.0, 10.0, 100.0, 1_000.0, 10_000.0];

/// Up to a million connections: in seconds.
const PASSES: [f64; 6] = [0.000_01, 0.000_1, 0.001, 0.01, 0.1, 1.0];

/// From a memory access to a timeout: in seconds.
const CHECKS: [f64; 8] = [0.000_1, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Configures an [`Ops`]. Made by [`Ops::builder`].
#[derive(Debug)]
pub struct OpsBuilder {
    name: String,
    ops_addr: String,
    request_id_header: Option<String>,
    request_ids: RequestIds,
    metrics: MetricsBuilder,
    recorder: Recorder,
    health: HealthBuilder,
    connections: ConnectionsBuilder,
    lifecycle: LifecycleBuilder,
    requests: Option<RequestTrackerBuilder>,
    request_details: bool,
    operations_token: Option<String>,
    prestop: bool,
    #[cfg(feature = "tls")]
    tls: Option<tower_ops_connections::Tls>,
    spans: bool,
    grpc_methods: Vec<String>,
}

impl OpsBuilder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            ops_addr: "0.0.0.0:8080".into(),
            request_id_header: None,
            request_ids: RequestIds::new(),
            metrics: Metrics::builder()
                .histogram_buckets("server_connection_duration_seconds", LIFETIMES)
                .histogram_buckets("server_connection_requests", REQUESTS)
                .histogram_buckets("server_reaper_pass_seconds", PASSES)
                .histogram_buckets("health_check_duration_seconds", CHECKS),
            recorder: Recorder::Process,
            health: Health::builder(),
            connections: Connections::builder(),
            lifecycle: Lifecycle::builder(),
            requests: Some(RequestTracker::builder()),
            request_details: false,
            operations_token: None,
            prestop: true,
            #[cfg(feature = "tls")]
            tls: None,
            spans: true,
            grpc_methods: Vec::new(),
        }
    }

    /// Where the operations endpoint listens: an IP address and a port.
    /// `0.0.0.0:8080` by default, since probes come to the pod's address. Port 0
    /// takes a free one.
    #[must_use]
    pub fn ops_addr(mut self, addr: impl Into<String>) -> Self {
        self.ops_addr = addr.into();
        self
    }

    /// The header that carries the request id. `x-request-id` by default.
    #[must_use]
    pub fn request_id_header(mut self, name: impl Into<String>) -> Self {
        self.request_id_header = Some(name.into());
        self
    }

    /// Changes how request ids are taken in and made.
    ///
    /// ```
    /// use tower_ops::Ops;
    /// use tower_ops::request_id::Inbound;
    ///
    /// let ops = Ops::builder("edge").request_ids(|ids| ids.with_inbound(Inbound::replace()));
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn request_ids(mut self, change: impl FnOnce(RequestIds) -> RequestIds) -> Self {
        self.request_ids = change(self.request_ids);
        self
    }

    /// Changes the metrics: prefix, buckets, cap on series.
    ///
    /// ```
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("orders").metrics(|metrics| metrics.prefix("orders_"));
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn metrics(mut self, change: impl FnOnce(MetricsBuilder) -> MetricsBuilder) -> Self {
        self.metrics = change(self.metrics);
        self
    }

    /// Records into the recorder that the application has installed, and serves
    /// it on `/metrics`: `Prometheus::from_handle(handle)`. Its upkeep is driven
    /// from here on.
    #[must_use]
    pub fn prometheus(mut self, application: Prometheus) -> Self {
        self.recorder = Recorder::Application(application);
        self
    }

    /// Keeps the metrics out of the process's recorder: for tests, and for
    /// several services in one process. `metrics::counter!` and the like do not
    /// show up on `/metrics` then.
    #[must_use]
    pub fn private_recorder(mut self) -> Self {
        self.recorder = Recorder::Private;
        self
    }

    /// Changes how requests are tracked: the length of the history, the age from
    /// which on a request counts as slow.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("orders")
    ///     .requests(|requests| requests.slow_after(Duration::from_secs(5)));
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn requests(
        mut self,
        change: impl FnOnce(RequestTrackerBuilder) -> RequestTrackerBuilder,
    ) -> Self {
        self.requests = self.requests.map(change);
        self
    }

    /// Tracks no requests: `/requests` is not there, and a request costs an
    /// allocation less.
    #[must_use]
    pub fn without_requests(mut self) -> Self {
        self.requests = None;
        self
    }

    /// Whether `/requests` on the operations endpoint shows everybody the paths,
    /// peers, request ids and notes of requests. It does not by default: they
    /// come from clients, or are about them.
    #[must_use]
    pub const fn request_details(mut self, everybody: bool) -> Self {
        self.request_details = everybody;
        self
    }

    /// The bearer token with which operators may see details and close connections
    /// on the operations endpoint: at least 16 characters. Without one, nobody may
    /// close any. Details of health checks are for its holders, too, unless
    /// [`health`](Self::health) says otherwise.
    ///
    /// ```
    /// use tower_ops::Ops;
    ///
    /// let mut ops = Ops::builder("orders");
    /// if let Ok(token) = std::env::var("OPERATIONS_TOKEN") {
    ///     ops = ops.operations_token(token);
    /// }
    /// ```
    #[must_use]
    pub fn operations_token(mut self, token: impl Into<String>) -> Self {
        self.operations_token = Some(token.into());
        self
    }

    /// Adds a health check. It runs once a period beside the application; `/ready` is
    /// 503 while a [critical](Check::critical) one is down.
    ///
    /// ```
    /// use tower_ops::Ops;
    /// use tower_ops::health::Check;
    ///
    /// # async fn ping() -> std::io::Result<()> { Ok(()) }
    /// let ops = Ops::builder("orders").check(Check::new("db", || ping()).critical());
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn check(self, check: Check) -> Self {
        self.health(|health| health.check(check))
    }

    /// Changes how the process tells its health: groups, thresholds, who sees details.
    /// Those who have the [`operations_token`](Self::operations_token) see them by
    /// default.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("orders")
    ///     .health(|health| health.stalled_after(Duration::from_secs(10)));
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn health(mut self, change: impl FnOnce(HealthBuilder) -> HealthBuilder) -> Self {
        self.health = change(self.health);
        self
    }

    /// Changes how connections live: their limits, and what is told of them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("orders").connections(|connections| {
    ///     connections
    ///         .max_connections(10_000)
    ///         .stall_timeout(Duration::from_secs(30))
    /// });
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn connections(
        mut self,
        change: impl FnOnce(ConnectionsBuilder) -> ConnectionsBuilder,
    ) -> Self {
        self.connections = change(self.connections);
        self
    }

    /// Leaves out `/prestop`, with which whoever reaches the operations endpoint stops the
    /// process: for where no `preStop` hook of Kubernetes needs it.
    #[must_use]
    pub const fn without_prestop(mut self) -> Self {
        self.prestop = false;
        self
    }

    /// Changes how the process starts and stops: the timeline of the shutdown, the steps
    /// that have to be done before it is ready.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("orders").lifecycle(|lifecycle| {
    ///     lifecycle
    ///         .expect_step("migrate")
    ///         .drain(Duration::from_secs(60))
    ///         .grace_period(Duration::from_secs(90)) // as in the pod's specification
    /// });
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn lifecycle(mut self, change: impl FnOnce(LifecycleBuilder) -> LifecycleBuilder) -> Self {
        self.lifecycle = change(self.lifecycle);
        self
    }

    /// Serves the application over TLS: `Tls::from_pem_files(certificate, key)`. The
    /// operations endpoint stays as it is.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[must_use]
    pub fn tls(mut self, tls: tower_ops_connections::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Opens no span for requests.
    #[must_use]
    pub const fn without_spans(mut self) -> Self {
        self.spans = false;
        self
    }

    /// Names the service's gRPC methods, as `package.Service/Method`, so that
    /// they are known before their first answer.
    #[must_use]
    pub fn grpc_methods<M: Into<String>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.grpc_methods
            .extend(methods.into_iter().map(Into::into));
        self
    }

    /// Checks everything and builds.
    ///
    /// Installs a Prometheus recorder for the process, unless the process has
    /// one or [`private_recorder`](Self::private_recorder) was called. If the
    /// application has installed another, the metrics go there, and `/metrics`
    /// says how to show them.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error lists every problem.
    pub fn build(self) -> Result<Ops, ConfigError> {
        let mut problems = Vec::new();
        if self.name.trim().is_empty() {
            problems.push("name: is empty; give the service's name, such as \"orders\"".into());
        }
        let ops_addr = self.ops_addr.parse::<SocketAddr>();
        if ops_addr.is_err() {
            problems.push(format!(
                "ops_addr: {:?} is not an IP address with a port, such as \"0.0.0.0:8080\"",
                self.ops_addr
            ));
        }
        let mut request_ids = self.request_ids;
        match self
            .request_id_header
            .map(|name| HeaderName::try_from(name.clone()).map_err(|_| name))
        {
            None => {}
            Some(Ok(name)) if is_of_http(&name) => problems.push(format!(
                "request_id_header: {name} has a meaning of its own in HTTP; choose another, such \
                 as \"x-request-id\""
            )),
            Some(Ok(name)) => request_ids = request_ids.with_header(name),
            Some(Err(name)) => problems.push(format!(
                "request_id_header: {name:?} is not a valid header name, such as \"x-request-id\""
            )),
        }
        for method in &self.grpc_methods {
            if !is_grpc_method(method) {
                problems.push(format!(
                    "grpc_methods: {method:?} does not look like \"package.Service/Method\""
                ));
            }
        }
        // Checked here and built below: a recorder is installed for good, so that
        // must not happen for a configuration that is refused.
        let metrics = match self.recorder {
            Recorder::Application(_) => self.metrics.check(),
            Recorder::Process | Recorder::Private => self.metrics.check_prometheus(),
        };
        if let Err(error) = metrics {
            let inner = error.problems().iter();
            problems.extend(inner.map(|problem| format!("metrics: {problem}")));
        }
        if let Some(Err(error)) = self.requests.as_ref().map(RequestTrackerBuilder::check) {
            let inner = error.problems().iter();
            problems.extend(inner.map(|problem| format!("requests: {problem}")));
        }
        if let Err(error) = self.connections.check() {
            let inner = error.problems().iter();
            problems.extend(inner.map(|problem| format!("connections: {problem}")));
        }
        if let Err(error) = self.lifecycle.check() {
            let inner = error.problems().iter();
            problems.extend(inner.map(|problem| format!("lifecycle: {problem}")));
        }
        if let Some(given) = &self.operations_token
            && given.trim().len() < token::SHORTEST
        {
            problems.push(format!(
                "operations_token: has fewer than {} characters, which can be tried out",
                token::SHORTEST
            ));
        }
        let token = self
            .operations_token
            .as_deref()
            .map(|token| Token::new(token.trim()));
        let mut health = self.health;
        if let Some(token) = token.clone() {
            let allowed = Details::allowed_if(move |headers| token.is_in(headers));
            health = health.details_by_default(allowed);
        }
        if let Err(error) = health.clone().build() {
            let inner = error.problems().iter();
            problems.extend(inner.map(|problem| format!("health: {problem}")));
        }
        let refuse = |problems| Err(ConfigError::new(problems));
        let (Ok(ops_addr), true) = (ops_addr, problems.is_empty()) else {
            return refuse(problems);
        };
        let private = matches!(self.recorder, Recorder::Private);
        let (metrics, prometheus) = match build_metrics(self.metrics, self.recorder) {
            Ok(built) => built,
            Err(error) => return refuse(error.problems().to_vec()),
        };
        // What is not the process's recorder has to be told.
        let recorder = prometheus
            .as_ref()
            .filter(|_| private)
            .and_then(Prometheus::recorder);
        let mut connections = self.connections;
        let mut lifecycle = self.lifecycle;
        if let Some(recorder) = &recorder {
            health = health.recorder(Arc::clone(recorder));
            connections = connections.recorder(Arc::clone(recorder));
            lifecycle = lifecycle.recorder(Arc::clone(recorder));
        }
        let connections = match connections.build() {
            Ok(connections) => connections,
            Err(error) => return refuse(error.problems().to_vec()),
        };
        let health = match health.build() {
            Ok(health) => health,
            Err(error) => return refuse(error.problems().to_vec()),
        };
        let tracker = match self
            .requests
            .map(|requests| build_tracker(requests, recorder))
        {
            None => None,
            Some(Ok(tracker)) => Some(tracker),
            Some(Err(error)) => return refuse(error.problems().to_vec()),
        };
        let lifecycle = match lifecycle.build() {
            Ok(lifecycle) => lifecycle,
            Err(error) => return refuse(error.problems().to_vec()),
        };
        drain::take_part(&lifecycle, &connections, tracker.as_ref());
        let spans = self.spans.then(Spans::new);
        let observe = ObserveLayer::new((
            ConnectionFacts,
            request_ids,
            tracker.clone(),
            metrics,
            spans,
        ))
        .with_grpc_methods(&self.grpc_methods);
        Ok(Ops::new(Parts {
            name: self.name,
            ops_addr,
            layer: OpsLayer::new(observe),
            health,
            prometheus,
            connections,
            lifecycle,
            #[cfg(feature = "tls")]
            tls: self.tls,
            tracker,
            request_details: self.request_details,
            token,
            prestop: self.prestop,
        }))
    }
}

fn build_tracker(
    mut builder: RequestTrackerBuilder,
    recorder: Option<Arc<dyn ::metrics::Recorder + Send + Sync>>,
) -> Result<RequestTracker, tower_ops_requests::ConfigError> {
    if let Some(recorder) = recorder {
        builder = builder.recorder(recorder);
    }
    builder.build()
}
