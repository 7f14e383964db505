//! All probes in one service, told apart by path.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_ops_core::http::path;
use tower_service::Service;

use crate::probe::Probe;
use crate::response::Answer;
use crate::target::{self, Target};
use crate::{Health, ProbeBody};

const PING: &str = "/health/ping";
const CHECKS: &str = "/checks";
/// Before the name of a check or a group.
const NAMED: &str = "/health/";

/// Answers every probe at its [`Probe::path`], and `/health/ping`, `/health/{check}` and `/checks`;
/// 404 with those paths anywhere else.
///
/// Use it as a fallback or under a prefix of a router, or as the only service of a port. A slash at
/// the end makes no difference: `/ready/` is `/ready`. Under a prefix (axum's `nest_service`), the
/// paths in the 404 are relative to it. Made by [`Health::probes`]. Always ready to be called.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use tower_ops_health::Health;
///
/// let health = Health::new();
/// let own_port: Router = Router::new().fallback_service(health.probes());
/// let prefixed: Router = Router::new().nest_service("/ops", health.probes()); // /ops/ready
/// ```
#[derive(Clone, Debug)]
pub struct Probes {
    health: Health,
    aliases: bool,
}

impl Probes {
    /// The paths that it answers, `{check}` standing for a name.
    pub const PATHS: &'static [&'static str] = &[
        "/health",
        "/ready",
        "/startup",
        PING,
        "/health/{check}",
        CHECKS,
    ];

    /// Further paths that it answers [if asked to](Self::with_aliases).
    pub const ALIASES: &'static [&'static str] = &["/livez", "/readyz", "/healthz"];

    pub(crate) const fn new(health: Health) -> Self {
        Self {
            health,
            aliases: false,
        }
    }

    /// Answers `/livez` and `/healthz` as `/health`, and `/readyz` as `/ready`: the paths that
    /// Kubernetes' own components have.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use tower_ops_health::Health;
    ///
    /// let probes = Health::new().probes().with_aliases();
    /// let own_port: Router = Router::new().fallback_service(probes);
    /// ```
    #[must_use]
    pub const fn with_aliases(mut self) -> Self {
        self.aliases = true;
        self
    }

    /// Whether a path is one of those that it answers, for a service that has others beside.
    ///
    /// ```
    /// use tower_ops_health::Probes;
    ///
    /// assert!(Probes::serves("/ready") && Probes::serves("/health/db"));
    /// assert!(!Probes::serves("/metrics"));
    /// ```
    #[must_use]
    pub fn serves(path: &str) -> bool {
        target(path.strip_suffix('/').unwrap_or(path)).is_some()
    }
}

fn alias(path: &str) -> Option<Target<'_>> {
    match path {
        "/livez" | "/healthz" => Some(Target::Probe(Probe::Liveness)),
        "/readyz" => Some(Target::Probe(Probe::Readiness)),
        _ => None,
    }
}

fn target(path: &str) -> Option<Target<'_>> {
    if let Some(probe) = Probe::ALL.iter().find(|probe| probe.path() == path) {
        return Some(Target::Probe(*probe));
    }
    match path {
        PING => Some(Target::Ping),
        CHECKS => Some(Target::Checks),
        _ => {
            let name = path.strip_prefix(NAMED)?;
            // Names have no slash in them.
            let is_one = !name.is_empty() && !name.contains('/');
            is_one.then_some(Target::Named(name))
        }
    }
}

impl<B> Service<Request<B>> for Probes {
    type Response = Response<ProbeBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = path(request.uri());
        let alias = self.aliases.then(|| alias(path)).flatten();
        ready(Ok(match alias.or_else(|| target(path)) {
            Some(target) => target::answer(&self.health.shared, target, &request),
            None => Answer::no_such_path(request.headers()).into_response(request.method()),
        }))
    }
}
