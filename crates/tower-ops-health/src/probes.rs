//! All probes in one service, told apart by path.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::probe::{self, Probe};
use crate::response::Answer;
use crate::{Health, ProbeBody};

/// Answers every probe at its [`Probe::path`], and 404 with those paths anywhere else.
///
/// Use it as a fallback or under a prefix of a router, or as the only service of a port. A path
/// must match exactly: `/health/` is not `/health`. Under a prefix (axum's `nest_service`), the
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
}

impl Probes {
    pub(crate) const fn new(health: Health) -> Self {
        Self { health }
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
        let path = request.uri().path();
        match Probe::ALL.iter().find(|probe| probe.path() == path) {
            Some(probe) => probe::answer(&self.health, *probe, &request),
            None => {
                let (method, headers) = (request.method(), request.headers());
                ready(Ok(Answer::NotFound.to_response(method, headers)))
            }
        }
    }
}
