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

use crate::check::{LIVENESS, READINESS, STARTUP};
use crate::grpc::messages::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, ServingStatus,
};
use crate::grpc::watch::{self, Watch};
use crate::health::{Health, HealthInner};

/// The names of services are short. A longer request is refused.
const MOST_REQUEST: usize = 4 * 1_024;

impl Health {
    /// Returns the service `grpc.health.v1` for tonic's router: see [`HealthServer`].
    #[must_use]
    pub fn grpc(&self) -> HealthServer {
        HealthServer {
            inner: Arc::clone(&self.inner),
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
/// Degraded is serving. For another name, Check answers `NOT_FOUND`, and Watch sends
/// `SERVICE_UNKNOWN` and stays open, as the protocol specifies. When ready is taken back
/// ([`Health::mark_not_ready`], [`Health::mark_draining`]), each Watch sends `NOT_SERVING` and stays open: a
/// client would open the next one at once. Call [`Health::close_watches`] when the server stops: an
/// open Watch would keep tonic's graceful shutdown waiting for ever.
///
/// Other services of the same server are as ready as the process if they are
/// [named](Self::with_services). Answers contain the names and statuses of groups, and no details.
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
    inner: Arc<HealthInner>,
    /// The names of other services of the server.
    services: Arc<BTreeSet<String>>,
}

impl HealthServer {
    /// Adds the names of services of the same server, such as `orders.v1.Orders`: each is as ready
    /// as the process, unless a group has its name.
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

/// Returns the status of a service; `None` if there is none of that name.
fn serving(
    inner: &HealthInner,
    services: &BTreeSet<String>,
    service: &str,
) -> Option<ServingStatus> {
    let name = match service {
        "" => READINESS,
        name if !inner.groups.contains_key(name) && services.contains(name) => READINESS,
        name => name,
    };
    let group = inner.groups.get(name)?;
    let is_own = name == LIVENESS || name == STARTUP;
    let ready = is_own || inner.flags().ready;
    Some(match inner.group_status(group) {
        crate::Status::Ok | crate::Status::Degraded if ready => ServingStatus::Serving,
        _ => ServingStatus::NotServing,
    })
}

impl HealthServer {
    fn serving(&self, service: &str) -> Option<ServingStatus> {
        serving(&self.inner, &self.services, service)
    }

    pub(super) fn inner(&self) -> &HealthInner {
        &self.inner
    }

    pub(super) fn status(&self, service: &str) -> ServingStatus {
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
        let names = self.0.inner.groups.keys().map(|name| &**name);
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
