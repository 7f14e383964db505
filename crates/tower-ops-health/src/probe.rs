//! One probe each: the questions, and a service that answers each of them on any path.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::target::{self, Target};
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
/// Answers 200 while the process is starting, not ready, or draining: a restart would help none of
/// them. 503 means that the application's runtime is stalled, which only a
/// [watch](Health::watch) on another thread can see, or that a critical check in the group
/// `liveness` is down.
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
/// Answers 503 until [`Health::mark_ready`], after [`Health::mark_not_ready`] or
/// [`Health::drain`], and while a critical check is down; else 200. Made by [`Health::readiness`]. Always ready to be called: tower's readiness is not this one.
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
/// Answers 503 until [`Health::mark_started`] or [`Health::mark_ready`], and until each critical
/// check in the group `startup` has passed once; 200 ever after, ready or not. Made by [`Health::startup`]. Always ready to be called.
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

/// Answers what [`Probes`](crate::Probes) answers on `/checks`, on whatever path it is mounted.
///
/// All checks, or those that the query names. Made by [`Health::checks`]. Always ready to be
/// called.
#[derive(Clone, Debug)]
pub struct Checks {
    health: Health,
}

impl Checks {
    pub(crate) const fn new(health: Health) -> Self {
        Self { health }
    }
}

impl<B> Service<Request<B>> for Checks {
    type Response = Response<ProbeBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = &self.health.shared;
        ready(Ok(target::answer(shared, Target::Checks, &request)))
    }
}

fn answer<B>(
    health: &Health,
    probe: Probe,
    request: &Request<B>,
) -> Ready<Result<Response<ProbeBody>, Infallible>> {
    ready(Ok(target::answer(
        &health.shared,
        Target::Probe(probe),
        request,
    )))
}
