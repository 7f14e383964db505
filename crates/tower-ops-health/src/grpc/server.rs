use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::check::{LIVENESS, READINESS};
use crate::grpc::messages::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, ServingStatus,
};
use crate::grpc::watch::{self, Watch};
use crate::shared::Shared;
use crate::state::Health;

/// A service's name is short. What is longer is not read.
const MOST_REQUEST: usize = 4 * 1_024;

impl Health {
    /// `grpc.health.v1` for tonic's router: see [`HealthServer`].
    #[must_use]
    pub fn grpc(&self) -> HealthServer {
        HealthServer {
            shared: Arc::clone(&self.shared),
            services: Arc::default(),
        }
    }
}

/// `grpc.health.v1.Health` with Check, Watch and List. Made by [`Health::grpc`].
///
/// | service name | serving |
/// |---|---|
/// | `""`, `readiness` | as `/ready` answers |
/// | `liveness`, `startup` | as `/health` and `/startup` answer |
/// | a declared group | marked ready, and the group is not down |
///
/// Degraded is serving. Check answers `NOT_FOUND` for another name, and Watch says
/// `SERVICE_UNKNOWN` and stays open, as the protocol has it. When ready is taken back
/// ([`Health::mark_not_ready`], [`Health::drain`]), each Watch says so and stays open: a client
/// would open the next one at once. Call [`Health::close_watches`] when the server stops: an open
/// Watch would keep tonic's graceful shutdown waiting for ever.
///
/// Services that the server has beside it are as ready as the process if they are
/// [named](Self::with_services).
///
/// Nothing in here is secret: names and statuses of groups are all that is told.
///
/// # Examples
///
/// ```no_run
/// use tonic::transport::Server;
/// use tower_ops_health::Health;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let health = Health::new();
/// Server::builder()
///     .add_service(health.grpc())
///     .serve("0.0.0.0:50051".parse()?)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HealthServer {
    shared: Arc<Shared>,
    /// The names of the services beside it, which are as ready as the process.
    services: Arc<BTreeSet<String>>,
}

impl HealthServer {
    /// Names services that the same server has, such as `orders.v1.Orders`: each is answered for
    /// as the process is, unless a group has its name.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_health::Health;
    ///
    /// let health = Health::new();
    /// let server = health.grpc().with_services(["orders.v1.Orders"]);
    /// ```
    #[must_use]
    pub fn with_services<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into);
        let known = self.services.iter().cloned();
        self.services = Arc::new(known.chain(names).collect());
        self
    }
}

impl NamedService for HealthServer {
    const NAME: &'static str = "grpc.health.v1.Health";
}

/// How a service stands; `None` if there is none of that name.
fn serving(shared: &Shared, services: &BTreeSet<String>, service: &str) -> Option<ServingStatus> {
    let name = match service {
        "" => READINESS,
        name if !shared.groups.contains_key(name) && services.contains(name) => READINESS,
        name => name,
    };
    let group = shared.groups.get(name)?;
    let is_own = name == LIVENESS || name == crate::check::STARTUP;
    let ready = is_own || shared.flags().ready;
    Some(match shared.group_status(group) {
        crate::Status::Ok | crate::Status::Degraded if ready => ServingStatus::Serving,
        _ => ServingStatus::NotServing,
    })
}

impl HealthServer {
    fn serving(&self, service: &str) -> Option<ServingStatus> {
        serving(&self.shared, &self.services, service)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn status(&self, service: &str) -> ServingStatus {
        let status = self.serving(service);
        status.unwrap_or(ServingStatus::ServiceUnknown)
    }
}

struct Check(HealthServer);

impl UnaryService<HealthCheckRequest> for Check {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        let status = self.0.serving(&request.get_ref().service);
        ready(match status {
            Some(status) => Ok(Response::new(status.into())),
            None => Err(Status::not_found("there is no service of that name")),
        })
    }
}

struct List(HealthServer);

impl UnaryService<HealthListRequest> for List {
    type Response = HealthListResponse;
    type Future = Ready<Result<Response<HealthListResponse>, Status>>;

    fn call(&mut self, _: Request<HealthListRequest>) -> Self::Future {
        let names = self.0.shared.groups.keys().map(|name| &**name);
        let services = self.0.services.iter().map(|name| &**name);
        let statuses = names.chain(services).chain([""]).filter_map(|name| {
            let status = self.0.serving(name)?;
            Some((name.to_owned(), status.into()))
        });
        let statuses = statuses.collect();
        ready(Ok(Response::new(HealthListResponse { statuses })))
    }
}

struct Watching(HealthServer);

impl ServerStreamingService<HealthCheckRequest> for Watching {
    type Response = HealthCheckResponse;
    type ResponseStream = Watch;
    type Future = Ready<Result<Response<Watch>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        let service = request.into_inner().service;
        let watch = watch::watch(self.0.clone(), service);
        ready(Ok(Response::new(watch)))
    }
}

impl<B> Service<http::Request<B>> for HealthServer
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    B::Data: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let server = self.clone();
        match request.uri().path() {
            "/grpc.health.v1.Health/Check" => Box::pin(async move {
                Ok(grpc::<HealthCheckResponse, HealthCheckRequest>()
                    .unary(Check(server), request)
                    .await)
            }),
            "/grpc.health.v1.Health/List" => Box::pin(async move {
                Ok(grpc::<HealthListResponse, HealthListRequest>()
                    .unary(List(server), request)
                    .await)
            }),
            "/grpc.health.v1.Health/Watch" => Box::pin(async move {
                Ok(grpc::<HealthCheckResponse, HealthCheckRequest>()
                    .server_streaming(Watching(server), request)
                    .await)
            }),
            _ => Box::pin(ready(Ok(Status::unimplemented("").into_http()))),
        }
    }
}

fn grpc<T, U>() -> Grpc<ProstCodec<T, U>>
where
    T: prost::Message + 'static,
    U: prost::Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MOST_REQUEST)
}

impl std::fmt::Debug for HealthServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthServer").finish_non_exhaustive()
    }
}
