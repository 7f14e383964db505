use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderName;
use tower_ops_admin::Tokens;
use tower_ops_connections::Connection;
use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::RecorderHandle;
use tower_ops_core::sync::Mutex;
use tower_ops_health::Details;
use tower_ops_metrics::Prometheus;
use tower_ops_observe::ObserveLayer;
use tower_ops_requests::RequestTrackerBuilder;
use tower_ops_state::StateBuilder;

use super::OpsBuilder;
use super::names::{is_grpc_method, is_of_http};
use super::recorder::{Recorder, build_metrics};
use crate::drain;
use crate::layer::OpsLayer;
use crate::layer::connection_facts::ConnectionFacts;
use crate::layer::observers::Observers;
use crate::layer::trusted_proxies::TrustedProxies;
use crate::mounts::{self, Mounts};
use crate::ops::{Ops, Parts};
use crate::restoring;

impl OpsBuilder {
    /// Checks the configuration without building anything. Reads the tokens, from wherever they
    /// come: see [`TokensBuilder::build`](tower_ops_admin::TokensBuilder::build).
    ///
    /// # Errors
    ///
    /// If anything in it is invalid. The error lists every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.parse().map(drop)
    }

    /// Checks the configuration and builds.
    ///
    /// Installs a Prometheus recorder for the process, unless the process has
    /// one or [`private_recorder`](Self::private_recorder) was called. If the
    /// application has installed another, the metrics go there, and `/metrics`
    /// answers how to show them.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate). Nothing is installed then.
    pub fn build(self) -> Result<Ops, ConfigError> {
        let Parsed {
            ops_addr,
            request_id_header,
            proxies,
            tokens,
        } = self.parse()?;
        let request_ids = match request_id_header {
            Some(name) => self.request_ids.with_header(name),
            None => self.request_ids,
        };
        let is_private = matches!(self.recorder, Recorder::Private);
        let (metrics, prometheus) = build_metrics(self.metrics, self.recorder)?;
        let mut health = self.health;
        if tokens.is_set() {
            health = health.details_by_default(details_for(&tokens));
        }
        let mut admin = self.admin.tokens(tokens.clone()).peer(|_| peer());
        let mut state = self.state;
        let mut connections = self.connections;
        let mut lifecycle = self.lifecycle;
        let mut requests = self.requests;
        // Every part finds the recorder of the process by itself, but not a private one.
        let recorder = prometheus.as_ref().filter(|_| is_private);
        let recorder = recorder.and_then(Prometheus::recorder);
        let losses = RecorderHandle::new(recorder.clone());
        #[cfg(feature = "logs")]
        if let Some(logs) = &self.logs {
            logs.register_metrics(&losses);
        }
        if let Some(recorder) = recorder {
            state = state.map(|state| state.recorder(Arc::clone(&recorder)));
            health = health.recorder(Arc::clone(&recorder));
            connections = connections.recorder(Arc::clone(&recorder));
            lifecycle = lifecycle.recorder(Arc::clone(&recorder));
            admin = admin.recorder(Arc::clone(&recorder));
            requests = requests.map(|requests| requests.recorder(recorder));
        }
        let connections = connections.build()?;
        let health = health.build()?;
        let tracker = requests.map(RequestTrackerBuilder::build).transpose()?;
        let lifecycle = lifecycle.build()?;
        drain::register(&lifecycle, &connections, tracker.as_ref());
        let spans = self.trace.build(&lifecycle, &losses);
        let process = self.process;
        let bound = process.bind(&lifecycle, &health);
        state = state.map(|state| {
            let torn = process.clone();
            state.on_inconsistent(move || torn.set_inconsistent())
        });
        if self.state_before_ready {
            state = state.map(|state| state.on_restored(move || process.set_restored()));
        }
        let state = state.map(StateBuilder::build).transpose()?;
        if let Some(state) = state.as_ref().filter(|state| state.file().is_some()) {
            restoring::save_on_stop(&lifecycle, state);
        }
        let mounts = Mounts {
            state: state.as_ref(),
            #[cfg(feature = "logs")]
            logs: self.logs.as_ref(),
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
        let admin = mounts.add_to(admin).build()?;
        let observe = ObserveLayer::new(Observers::new(
            ConnectionFacts::new(proxies),
            request_ids,
            spans,
            tracker.clone(),
            metrics,
        ));
        Ok(Ops::new(Parts {
            name: self.name,
            ops_addr,
            listens: Mutex::default(),
            layer: OpsLayer::new(observe.with_grpc_methods(&self.grpc_methods)),
            health,
            prometheus,
            connections,
            lifecycle,
            extended_connect: self.extended_connect,
            #[cfg(feature = "tls")]
            tls: self.tls,
            tracker,
            state,
            _process: bound,
            admin,
        }))
    }

    /// Finds all problems, before anything is built: a recorder is installed for good.
    fn parse(&self) -> Result<Parsed, ConfigError> {
        let mut problems = Problems::default();
        if self.name.trim().is_empty() {
            problems.add("name: is empty; give the service's name, such as \"orders\"");
        }
        let ops_addr = problems.take(self.parse_ops_addr());
        let request_id_header = problems.take(self.parse_request_id_header());
        let proxies = TrustedProxies::parse(&self.trusted_proxies);
        let proxies = proxies.unwrap_or_else(|wrong| {
            problems.0.extend(wrong);
            None
        });
        for method in self.grpc_methods.iter().filter(|it| !is_grpc_method(it)) {
            problems.add(format!(
                "grpc_methods: {method:?} does not look like \"package.Service/Method\""
            ));
        }
        let metrics = match self.recorder {
            Recorder::Application(_) => self.metrics.validate(),
            Recorder::Process | Recorder::Private => self.metrics.validate_prometheus(),
        };
        problems.add_part("metrics", metrics);
        if let Some(requests) = &self.requests {
            problems.add_part("requests", requests.validate());
        }
        problems.add_part("connections", self.connections.validate());
        if let Some(state) = &self.state {
            problems.add_part("state", state.validate());
        } else if self.state_before_ready {
            problems
                .add("state_before_ready: there is no state to wait for; add one with state(..)");
        }
        problems.add_part("lifecycle", self.lifecycle.validate());
        let tokens = self.tokens.clone().build().unwrap_or_else(|error| {
            problems.add_part("operations", Err(error));
            Tokens::none()
        });
        problems.add_part("health", self.health.validate());
        problems.add_part("operations", self.admin.validate());
        problems.0.extend(mounts::overlaps(
            &self.admin,
            self.probe_aliases,
            self.has_logs(),
        ));
        ConfigError::check("the service", problems.0)?;
        Ok(Parsed {
            // There is always one: without, there was a problem.
            ops_addr: ops_addr.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))),
            request_id_header: request_id_header.flatten(),
            proxies: proxies.map(Arc::new),
            tokens,
        })
    }

    fn parse_ops_addr(&self) -> Result<SocketAddr, String> {
        self.ops_addr.parse().map_err(|_| {
            format!(
                "ops_addr: {:?} is not an IP address with a port, such as \"0.0.0.0:8080\"",
                self.ops_addr
            )
        })
    }

    fn parse_request_id_header(&self) -> Result<Option<HeaderName>, String> {
        let Some(name) = &self.request_id_header else {
            return Ok(None);
        };
        match HeaderName::try_from(name) {
            Ok(name) if is_of_http(&name) => Err(format!(
                "request_id_header: {name} has a meaning of its own in HTTP; choose another, such \
                 as \"x-request-id\""
            )),
            Ok(name) => Ok(Some(name)),
            Err(_) => Err(format!(
                "request_id_header: {name:?} is not a valid header name, such as \"x-request-id\""
            )),
        }
    }
}

/// What the text of the settings is.
struct Parsed {
    ops_addr: SocketAddr,
    request_id_header: Option<HeaderName>,
    proxies: Option<Arc<TrustedProxies>>,
    tokens: Tokens,
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Adds the problems of a part, each with the part's name.
    fn add_part(&mut self, part: &str, validated: Result<(), ConfigError>) {
        if let Err(error) = validated {
            let problems = error.problems().iter();
            self.0
                .extend(problems.map(|problem| format!("{part}: {problem}")));
        }
    }

    fn take<T>(&mut self, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|problem| self.0.push(problem)).ok()
    }
}

/// Who has a token sees the details of health checks. Who may read without one also sees which
/// checks there are.
fn details_for(tokens: &Tokens) -> Details {
    let hides_names = tokens.must_read();
    let tokens = tokens.clone();
    let allowed = Details::allowed_if(move |headers| tokens.role(headers).is_some());
    if hides_names {
        allowed
    } else {
        allowed.with_public_names()
    }
}

/// The peer of a request to the operations endpoint on the application's port.
fn peer() -> Option<SocketAddr> {
    let peer = Connection::with_current(|connection| {
        // Or there would be a warning that the request did not pass the layer.
        connection.set_watched();
        connection.peer().addr()
    });
    peer.flatten()
}
