//! One probe each: the questions, and a service that answers each of them on any path.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::response::{self, Answer};
use crate::{Health, ProbeBody};

/// Names a question that an orchestrator asks a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Probe {
    /// Must the process be restarted? Answered by [`Liveness`].
    Liveness,
    /// Does the process want requests? Answered by [`Readiness`].
    Readiness,
    /// Is start-up over? Answered by [`Startup`].
    Startup,
}

impl Probe {
    /// Every probe that [`Probes`](crate::Probes) serves.
    pub const ALL: &'static [Self] = &[Self::Liveness, Self::Readiness, Self::Startup];

    /// Returns the path of this probe in [`Probes`](crate::Probes).
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
            Self::Liveness => "/health",
            Self::Readiness => "/ready",
            Self::Startup => "/startup",
        }
    }
}

/// Answers whether the process must be restarted, on whatever path it is mounted.
///
/// Answers 200 whenever it is asked: that it was asked shows that the process is alive. It stays
/// 200 while the process is starting, not ready, or draining; a restart would help none of them.
/// Made by [`Health::liveness`]. Always ready to be called.
#[derive(Clone, Debug)]
pub struct Liveness {
    health: Health,
}

impl Liveness {
    pub(crate) const fn new(health: Health) -> Self {
        Self { health }
    }
}

impl<B> Service<Request<B>> for Liveness {
    type Response = Response<ProbeBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        answer(&self.health, Probe::Liveness, &request)
    }
}

/// Answers whether the process wants requests, on whatever path it is mounted.
///
/// Answers 503 until [`Health::mark_ready`] and after [`Health::mark_not_ready`], else 200. Made by
/// [`Health::readiness`]. Always ready to be called: tower's readiness is not this one.
#[derive(Clone, Debug)]
pub struct Readiness {
    health: Health,
}

impl Readiness {
    pub(crate) const fn new(health: Health) -> Self {
        Self { health }
    }
}

impl<B> Service<Request<B>> for Readiness {
    type Response = Response<ProbeBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        answer(&self.health, Probe::Readiness, &request)
    }
}

/// Answers whether start-up is over, on whatever path it is mounted.
///
/// Answers 503 until [`Health::mark_started`] or [`Health::mark_ready`], and 200 ever after, ready
/// or not. Made by [`Health::startup`]. Always ready to be called.
#[derive(Clone, Debug)]
pub struct Startup {
    health: Health,
}

impl Startup {
    pub(crate) const fn new(health: Health) -> Self {
        Self { health }
    }
}

impl<B> Service<Request<B>> for Startup {
    type Response = Response<ProbeBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        answer(&self.health, Probe::Startup, &request)
    }
}

/// Answers `request` as `probe`, without a look at its path.
pub(crate) fn answer<B>(
    health: &Health,
    probe: Probe,
    request: &Request<B>,
) -> Ready<Result<Response<ProbeBody>, Infallible>> {
    let answer = if !response::is_allowed(request.method()) {
        Answer::MethodNotAllowed
    } else if health.passes(probe) {
        Answer::Ok
    } else {
        Answer::Down
    };
    ready(Ok(answer.to_response(request.method(), request.headers())))
}
