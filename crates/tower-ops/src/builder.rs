use tower_ops_admin::{Access, Admin, AdminBuilder, Tokens, TokensBuilder};
use tower_ops_connections::{Connections, ConnectionsBuilder};
use tower_ops_health::{Check, Health, HealthBuilder};
use tower_ops_lifecycle::{Lifecycle, LifecycleBuilder};
use tower_ops_metrics::{MetricsBuilder, Prometheus};
use tower_ops_request_id::RequestIds;
use tower_ops_requests::{RequestTracker, RequestTrackerBuilder};
use tower_ops_state::{State, StateBuilder};

use self::recorder::Recorder;
use self::telemetry::Trace;
use crate::restoring::{self, Process};

pub(crate) mod addr;
mod build;
mod for_tests;
mod names;
mod operations;
mod recorder;
mod telemetry;

/// Configures an [`Ops`](crate::Ops). Made by [`Ops::builder`](crate::Ops::builder).
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
    admin: AdminBuilder,
    tokens: TokensBuilder,
    version: Option<String>,
    state: Option<StateBuilder>,
    process: Process,
    state_before_ready: bool,
    prestop: Option<Access>,
    probe_aliases: bool,
    #[cfg(feature = "tls")]
    tls: Option<tower_ops_connections::Tls>,
    extended_connect: bool,
    trusted_proxies: Vec<String>,
    trace: Trace,
    #[cfg(feature = "logs")]
    logs: Option<tower_ops_logs::Logs>,
    grpc_methods: Vec<String>,
}

impl OpsBuilder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            admin: Admin::builder(name_of_parts(&name)),
            tokens: Tokens::builder(),
            version: None,
            state: None,
            process: Process::default(),
            state_before_ready: false,
            prestop: Some(Access::Public),
            name,
            ops_addr: "[::]:8080".into(),
            probe_aliases: false,
            request_id_header: None,
            request_ids: RequestIds::new(),
            metrics: recorder::metrics_builder(),
            recorder: Recorder::Process,
            health: Health::builder(),
            connections: Connections::builder(),
            lifecycle: Lifecycle::builder(),
            requests: Some(RequestTracker::builder()),
            request_details: false,
            #[cfg(feature = "tls")]
            tls: None,
            extended_connect: false,
            trusted_proxies: Vec::new(),
            trace: Trace::default(),
            #[cfg(feature = "logs")]
            logs: None,
            grpc_methods: Vec::new(),
        }
    }

    /// Sets the header that carries the request id. `x-request-id` by default.
    #[must_use]
    pub fn request_id_header(mut self, name: impl Into<String>) -> Self {
        self.request_id_header = Some(name.into());
        self
    }

    /// Changes how request ids are accepted and made.
    ///
    /// # Examples
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
    /// # Examples
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

    /// Records into the recorder that the application has installed, and serves it on `/metrics`.
    /// Make the argument by `Prometheus::from_handle(handle)`, which drives the upkeep from then on.
    ///
    /// Give the recorder buckets before, with
    /// [`apply_buckets`](MetricsBuilder::apply_buckets), or it makes summaries. If another library
    /// installs the recorder, such as axum-prometheus, let it do so before [`build`](Self::build),
    /// which installs one otherwise.
    #[must_use]
    pub fn prometheus(mut self, application: Prometheus) -> Self {
        self.recorder = Recorder::Application(application);
        self
    }

    /// Records into a recorder of its own, and not into the process's: for tests, and for several
    /// services in one process. What `metrics::counter!` and the like count is not on `/metrics`
    /// then.
    #[must_use]
    pub fn private_recorder(mut self) -> Self {
        self.recorder = Recorder::Private;
        self
    }

    /// Changes how requests are tracked: the length of the history, the age at which a request
    /// counts as slow.
    ///
    /// # Examples
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

    /// Turns the tracking of requests off: there is no `/requests`, and a request costs an
    /// allocation less.
    #[must_use]
    pub fn without_requests(mut self) -> Self {
        self.requests = None;
        self
    }

    /// Adds a health check. It runs once in its period, beside the application. `/ready` answers
    /// 503 while a [critical](Check::critical) check is down.
    ///
    /// # Examples
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

    /// Changes how the process publishes its health: groups, thresholds, who sees details. By
    /// default those who have a [token](Self::tokens) see details.
    ///
    /// # Examples
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

    /// Changes the limits of connections.
    ///
    /// # Examples
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

    /// Configures the state of the service, which clients capture and restore at `/state` of the
    /// operations endpoint. They need the token in the environment variable
    /// `TOWER_OPS_STATE_TOKEN`; without one, `/state` is closed. No state by default.
    ///
    /// It can be restored before the service is ready, or after
    /// [`mark_not_ready`](tower_ops_health::Health::mark_not_ready). With a
    /// [file](StateBuilder::file) it is restored at start, and written after the drain.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tower_ops::Ops;
    ///
    /// let orders = Arc::new(Mutex::new(Vec::<String>::new()));
    /// let (get, set) = (orders.clone(), orders.clone());
    /// let ops = Ops::builder("orders").state(move |state| {
    ///     state.single(move || get.lock().unwrap().clone(), move |orders| {
    ///         *set.lock().unwrap() = orders;
    ///         Ok(())
    ///     })
    /// });
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn state(mut self, change: impl FnOnce(StateBuilder) -> StateBuilder) -> Self {
        let state = self.state.take().unwrap_or_else(|| {
            let version = self.version.as_deref().unwrap_or("unknown");
            let process = self.process.clone();
            State::builder(name_of_parts(&self.name), version)
                .restore_when(move || process.may_be_restored())
        });
        self.state = Some(change(state));
        self
    }

    /// Keeps the service not ready until its [state](Self::state) was restored: for an instance
    /// that takes over from another. Off by default.
    #[must_use]
    pub fn state_before_ready(mut self) -> Self {
        if !self.state_before_ready {
            self.state_before_ready = true;
            self.lifecycle = self.lifecycle.expect_step(restoring::STEP);
        }
        self
    }

    /// Changes how the process starts and stops: the times of the shutdown, and the steps that have
    /// to be done before it is ready.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("orders").lifecycle(|lifecycle| {
    ///     lifecycle
    ///         .expect_step("migrate")
    ///         .drain_timeout(Duration::from_secs(60))
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

    /// Sets whether [`serve`](crate::Ops::serve) accepts extended CONNECT on HTTP/2 (RFC 8441),
    /// which browsers use for WebSockets. Off by default: a client that is offered it opens its
    /// WebSockets as streams of the connection that it already has.
    ///
    /// With axum, route such a WebSocket with `any(…)`: the method is CONNECT.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("chat").extended_connect(true);
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub const fn extended_connect(mut self, accept: bool) -> Self {
        self.extended_connect = accept;
        self
    }

    /// Adds networks, or single addresses, of trusted proxies: the addresses that they forward
    /// count as the clients'. None by default.
    ///
    /// For a request from a trusted proxy, the client is the last address in `Forwarded` (RFC 7239)
    /// or `X-Forwarded-For` that is not a trusted proxy's. It stands in `/requests`, and handlers
    /// have it as [`ClientAddr`](crate::ClientAddr). `ConnectInfo` stays the peer of the socket. A
    /// text that is no address (`unknown`, `_hidden`) ends the search. If both headers are there and
    /// disagree, neither counts. These headers are not read from any other peer.
    ///
    /// Costs an allocation for each request, and two look-ups of headers for those from a proxy.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("orders").trusted_proxies(["10.0.0.0/8", "2001:db8::/32"]);
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn trusted_proxies<N: Into<String>>(
        mut self,
        networks: impl IntoIterator<Item = N>,
    ) -> Self {
        self.trusted_proxies
            .extend(networks.into_iter().map(Into::into));
        self
    }

    /// Adds names of the service's gRPC methods, as `package.Service/Method`. The calls of a method
    /// that is not named here count for the route `_OTHER` until it has answered once.
    #[must_use]
    pub fn grpc_methods<M: Into<String>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.grpc_methods
            .extend(methods.into_iter().map(Into::into));
        self
    }
}

/// Returns the name that the parts get. An empty name is one problem, of the service, and not
/// another one of each part.
fn name_of_parts(name: &str) -> &str {
    if name.trim().is_empty() {
        "unnamed"
    } else {
        name
    }
}
