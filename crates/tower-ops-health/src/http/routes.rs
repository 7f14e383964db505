//! The paths of the probes, and the services that answer on them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_ops_core::http::{AnswerBody, path};
use tower_service::Service;

use super::answering;
use crate::check::{LIVENESS, READINESS, STARTUP};
use crate::health::Health;

// The one place where the paths are written down.
const LIVENESS_PATH: &str = "/health";
const READINESS_PATH: &str = "/ready";
const STARTUP_PATH: &str = "/startup";
const PING_PATH: &str = "/health/ping";
const CHECKS_PATH: &str = "/checks";
const NAMED_PREFIX: &str = "/health/";
const LIVENESS_ALIASES: [&str; 2] = ["/livez", "/healthz"];
const READINESS_ALIAS: &str = "/readyz";

/// What a request asks about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// One of the three groups that every [`Health`] has.
    Group(&'static str),
    /// All checks.
    Checks,
    /// A check, or a declared group.
    Named(&'a str),
    /// Nothing but an answer.
    Ping,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            LIVENESS_PATH => Self::Group(LIVENESS),
            READINESS_PATH => Self::Group(READINESS),
            STARTUP_PATH => Self::Group(STARTUP),
            PING_PATH => Self::Ping,
            CHECKS_PATH => Self::Checks,
            _ => {
                let name = path.strip_prefix(NAMED_PREFIX)?;
                // Names contain no slash.
                let is_one = !name.is_empty() && !name.contains('/');
                return is_one.then_some(Self::Named(name));
            }
        })
    }

    fn of_alias(path: &str) -> Option<Self> {
        if path == READINESS_ALIAS {
            Some(Self::Group(READINESS))
        } else {
            let is_liveness = LIVENESS_ALIASES.contains(&path);
            is_liveness.then_some(Self::Group(LIVENESS))
        }
    }
}

/// A question that an orchestrator asks a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Probe {
    /// Must the process be restarted? Answered by [`Health::liveness`].
    Liveness,
    /// May the process be sent requests? Answered by [`Health::readiness`].
    Readiness,
    /// Has the process finished starting? Answered by [`Health::startup`].
    Startup,
}

impl Probe {
    /// Every probe that [`Probes`] serves.
    pub const ALL: &'static [Self] = &[Self::Liveness, Self::Readiness, Self::Startup];

    /// Returns the path of this probe in [`Probes`].
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_health::Probe;
    ///
    /// assert_eq!(Probe::Liveness.path(), "/health");
    /// assert_eq!(Probe::Readiness.path(), "/ready");
    /// assert_eq!(Probe::Startup.path(), "/startup");
    /// ```
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Liveness => LIVENESS_PATH,
            Self::Readiness => READINESS_PATH,
            Self::Startup => STARTUP_PATH,
        }
    }
}

/// Answers one question, on whatever path it is mounted.
///
/// Made by [`Health::liveness`], [`Health::readiness`], [`Health::startup`] and
/// [`Health::checks`]. Always ready to be called: tower's readiness is not the process's.
#[derive(Clone, Debug)]
pub struct ProbeService {
    health: Health,
    target: Target<'static>,
}

impl ProbeService {
    pub(crate) const fn new(health: Health, probe: Probe) -> Self {
        let group = match probe {
            Probe::Liveness => LIVENESS,
            Probe::Readiness => READINESS,
            Probe::Startup => STARTUP,
        };
        Self {
            health,
            target: Target::Group(group),
        }
    }

    pub(crate) const fn checks(health: Health) -> Self {
        Self {
            health,
            target: Target::Checks,
        }
    }
}

impl<B> Service<Request<B>> for ProbeService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(answering::answer(
            &self.health,
            Some(self.target),
            &request,
        )))
    }
}

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
    /// The paths that it answers. `{check}` stands for a name.
    pub const PATHS: &'static [&'static str] = &[
        LIVENESS_PATH,
        READINESS_PATH,
        STARTUP_PATH,
        PING_PATH,
        "/health/{check}",
        CHECKS_PATH,
    ];

    /// Further paths, answered [only on request](Self::with_aliases).
    pub const ALIASES: &'static [&'static str] =
        &[LIVENESS_ALIASES[0], READINESS_ALIAS, LIVENESS_ALIASES[1]];

    pub(crate) const fn new(health: Health) -> Self {
        Self {
            health,
            aliases: false,
        }
    }

    /// Answers `/livez` and `/healthz` as `/health`, and `/readyz` as `/ready`: the paths of
    /// Kubernetes' own components. Off by default.
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

    /// Returns whether it answers on this path, for a service that has other paths too.
    ///
    /// ```
    /// use tower_ops_health::Probes;
    ///
    /// assert!(Probes::serves("/ready") && Probes::serves("/health/db"));
    /// assert!(!Probes::serves("/metrics"));
    /// ```
    #[must_use]
    pub fn serves(path: &str) -> bool {
        Target::of(path.strip_suffix('/').unwrap_or(path)).is_some()
    }
}

impl<B> Service<Request<B>> for Probes {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = path(request.uri());
        let alias = self.aliases.then(|| Target::of_alias(path)).flatten();
        let target = alias.or_else(|| Target::of(path));
        ready(Ok(answering::answer(&self.health, target, &request)))
    }
}
