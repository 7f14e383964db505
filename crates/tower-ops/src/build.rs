use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::HeaderName;
use tower_ops_admin::Tokens;
use tower_ops_connections::Connection;
use tower_ops_core::config::ConfigError;
use tower_ops_health::Details;
use tower_ops_metrics::Prometheus;
use tower_ops_observe::ObserveLayer;
use tower_ops_requests::{RequestTracker, RequestTrackerBuilder};
use tower_ops_state::{State, StateBuilder};
use tower_ops_trace::Spans;

use crate::builder::OpsBuilder;
use crate::connection_facts::ConnectionFacts;
use crate::drain;
use crate::layer::OpsLayer;
use crate::mounts::{self, Mounted};
use crate::names::{is_grpc_method, is_of_http};
use crate::observers::Observers;
use crate::ops::{Ops, Parts};
use crate::recorder::{Recorder, build_metrics};
use crate::restoring::{self, Process};
use crate::trusted_proxies::TrustedProxies;

/// What it is that is configured.
const OF: &str = "the service";

/// The settings of parts that are the service's name, which is told of already.
const NAMES: [&str; 2] = ["application: ", "name: "];

/// Adds the problems of a part, each with its name.
fn add(problems: &mut Vec<String>, part: &str, checked: Result<(), ConfigError>) {
    if let Err(error) = checked {
        let inner = error.problems().iter();
        let inner = inner.filter(|problem| !NAMES.iter().any(|name| problem.starts_with(name)));
        problems.extend(inner.map(|problem| format!("{part}: {problem}")));
    }
}

impl OpsBuilder {
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
        let ops_addr = self.ops_addr.parse::<SocketAddr>().unwrap_or_else(|_| {
            problems.push(format!(
                "ops_addr: {:?} is not an IP address with a port, such as \"0.0.0.0:8080\"",
                self.ops_addr
            ));
            SocketAddr::from(([0, 0, 0, 0], 0))
        });
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
        let mut proxies = None;
        if !self.trusted_proxies.is_empty() {
            match TrustedProxies::parse(&self.trusted_proxies) {
                Ok(trusted) => proxies = Some(Arc::new(trusted)),
                Err(wrong) => problems.extend(wrong),
            }
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
        add(&mut problems, "metrics", metrics);
        if let Some(requests) = &self.requests {
            add(&mut problems, "requests", requests.validate());
        }
        add(&mut problems, "connections", self.connections.validate());
        let process = Process::default();
        let mut state = None;
        let mut lifecycle = self.lifecycle;
        if !self.state.is_empty() {
            let condition = process.clone();
            let version = self.version.as_deref().unwrap_or("unknown");
            let builder = State::builder(self.name.as_str(), version)
                .restore_when(move || condition.may_be_restored());
            let torn = process.clone();
            let mut builder = self
                .state
                .apply(builder)
                .on_inconsistent(move || torn.is_inconsistent());
            if self.state_before_ready {
                lifecycle = lifecycle.expect_step(restoring::STEP);
                let waits = process.clone();
                builder = builder.on_restored(move || waits.is_restored());
            }
            add(&mut problems, "state", builder.validate());
            state = Some(builder);
        } else if self.state_before_ready {
            problems.push(
                "state_before_ready: there is no state to wait for; add one with state(..)".into(),
            );
        }
        add(&mut problems, "lifecycle", lifecycle.validate());
        let mut health = self.health;
        let tokens = self.tokens.build().unwrap_or_else(|error| {
            add(&mut problems, "operations", Err(error));
            Tokens::none()
        });
        if tokens.is_set() {
            let hides_names = tokens.must_read();
            let tokens = tokens.clone();
            let allowed = Details::allowed_if(move |headers| tokens.role(headers).is_some());
            // Who reads without a token reads which checks there are as well.
            health = health.details_by_default(if hides_names {
                allowed
            } else {
                allowed.with_public_names()
            });
        }
        add(&mut problems, "health", health.clone().build().map(drop));
        let mut admin = self.admin.tokens(tokens.clone());
        if let Some(version) = self.version {
            admin = admin.version(version);
        }
        admin = admin.peer(|_| {
            let peer = Connection::with_current(|connection| {
                // The layer is not meant to watch requests to the operations.
                connection.set_watched();
                connection.peer().addr()
            });
            peer.flatten()
        });
        add(
            &mut problems,
            "operations",
            mounts::check(&admin, self.probe_aliases),
        );
        ConfigError::check(OF, problems)?;

        let private = matches!(self.recorder, Recorder::Private);
        let (metrics, prometheus) = build_metrics(self.metrics, self.recorder)?;
        // What is not the process's recorder has to be told.
        let recorder = prometheus
            .as_ref()
            .filter(|_| private)
            .and_then(Prometheus::recorder);
        let mut connections = self.connections;
        if let Some(recorder) = &recorder {
            state = state.map(|state| state.recorder(Arc::clone(recorder)));
            health = health.recorder(Arc::clone(recorder));
            connections = connections.recorder(Arc::clone(recorder));
            lifecycle = lifecycle.recorder(Arc::clone(recorder));
            admin = admin.recorder(Arc::clone(recorder));
        }
        let connections = connections.build()?;
        let health = health.build()?;
        let tracker = self
            .requests
            .map(|requests| build_tracker(requests, recorder))
            .transpose()?;
        let lifecycle = lifecycle.build()?;
        drain::take_part(&lifecycle, &connections, tracker.as_ref());
        let process = process.bind(&lifecycle, &health);
        let state = state.map(StateBuilder::build).transpose()?;
        if let Some(state) = &state
            && state.file().is_some()
        {
            restoring::save_on_stop(&lifecycle, state);
        }
        let mounted = Mounted {
            state: state.as_ref(),
            health: &health,
            prometheus: prometheus.as_ref(),
            connections: &connections,
            tracker: tracker.as_ref(),
            lifecycle: &lifecycle,
            tokens: &tokens,
            request_details: self.request_details,
            prestop: self.prestop,
            probe_aliases: self.probe_aliases,
        };
        let admin = mounted.on(admin).build()?;
        let spans = self.spans.then(Spans::new);
        let observe = ObserveLayer::new(Observers::new(
            ConnectionFacts::new(proxies),
            request_ids,
            tracker.clone(),
            metrics,
            spans,
        ))
        .with_grpc_methods(&self.grpc_methods);
        Ok(Ops::new(Parts {
            name: self.name,
            ops_addr,
            listens: Mutex::default(),
            layer: OpsLayer::new(observe),
            health,
            prometheus,
            connections,
            lifecycle,
            extended_connect: self.extended_connect,
            #[cfg(feature = "tls")]
            tls: self.tls,
            tracker,
            state,
            _process: process,
            admin,
        }))
    }
}

fn build_tracker(
    mut builder: RequestTrackerBuilder,
    recorder: Option<Arc<dyn ::metrics::Recorder + Send + Sync>>,
) -> Result<RequestTracker, ConfigError> {
    if let Some(recorder) = recorder {
        builder = builder.recorder(recorder);
    }
    builder.build()
}
