use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_ops_core::sync::Mutex;
use tower_ops_observe::{GrpcCode, GrpcProtocol};
use tower_service::Service;

use crate::check::{CheckEntries, CheckEntry};
use crate::health::Health;
use crate::status::Status;

mod route;

use self::route::Route;

impl Health {
    /// Returns a layer that answers for the routes that are of no use while a check is
    /// [down](crate::Check::affects).
    #[must_use]
    pub fn shed_layer(&self) -> ShedLayer {
        ShedLayer {
            health: self.clone(),
        }
    }
}

/// Answers 503 for the routes that a check which is down [affects](crate::Check::affects), with
/// a `retry-after` of that check's period. A gRPC or gRPC-Web call gets `UNAVAILABLE`. All other
/// requests pass.
///
/// While no such check is down, it costs a request one atomic load. The answer has no body: the
/// cause is not public.
///
/// With the feature `axum` the route is axum's `MatchedPath`, where that is known: inside of
/// `Router::layer` or `Router::route_layer`. Otherwise the request's path is compared, with
/// templates too: `/orders/7` fits `/orders/{id}`, and so does `/orders/new`, even if that is a
/// route of its own. Made by [`Health::shed_layer`].
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_ops_health::{Check, Health};
///
/// let health = Health::builder()
///     .check(Check::always_down("payments").affects("/orders/{id}/pay"))
///     .build()?;
/// let app: Router = Router::new()
///     .route("/orders/{id}/pay", get(|| async { "paid" }))
///     .layer(health.shed_layer());
/// # Ok::<_, tower_ops_health::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ShedLayer {
    health: Health,
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed {
            inner,
            health: self.health.clone(),
        }
    }
}

/// The service that a [`ShedLayer`] makes.
///
/// The answer's body is the inner service's default: empty. A request that is shed leaves the
/// inner service ready and not called.
#[derive(Clone, Debug)]
pub struct Shed<S> {
    inner: S,
    health: Health,
}

impl<S, B, R> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ShedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let routes = &self.health.inner.shed_routes;
        let state = match routes.cause(|| Route::of(&request)) {
            Some(entry) => State::Shed {
                // Rounded up: 0 would be at once.
                seconds: entry.check.period.as_secs_f64().ceil().max(1.0),
                grpc: GrpcProtocol::of(&request),
            },
            None => State::Passed {
                future: self.inner.call(request),
            },
        };
        ShedFuture { state }
    }
}

pin_project! {
    /// The future of a [`Shed`] service.
    #[derive(Debug)]
    pub struct ShedFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = Projected]
    enum State<F> {
        Passed { #[pin] future: F },
        Shed { seconds: f64, grpc: Option<GrpcProtocol> },
    }
}

impl<F, R, E> Future for ShedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            Projected::Passed { future } => ready!(future.poll(cx)),
            Projected::Shed { seconds, grpc } => Ok(shed(*seconds, *grpc)),
        })
    }
}

fn shed<R: Default>(seconds: f64, grpc: Option<GrpcProtocol>) -> Response<R> {
    if let Some(protocol) = grpc {
        return protocol.trailers_only(GrpcCode::Unavailable, "temporarily unavailable");
    }
    let mut response = Response::new(R::default());
    let headers = response.headers_mut();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between a second and a day"
    )]
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// The routes to shed now, each with the check that is down.
#[derive(Default)]
pub(crate) struct ShedRoutes {
    /// What a request looks at while nothing is shed.
    any: AtomicBool,
    routes: Mutex<Arc<[(Arc<str>, Arc<CheckEntry>)]>>,
}

impl ShedRoutes {
    /// Takes the checks under its lock, so that the last one to write has the newest.
    pub(crate) fn update(&self, entries: impl FnOnce() -> Arc<CheckEntries>) {
        let mut routes = self.routes.lock();
        let entries = entries();
        let down = entries.values().filter(|entry| {
            // Most checks name no route.
            !entry.check.routes.is_empty() && entry.status() == Status::Down
        });
        *routes = down
            .flat_map(|entry| {
                let named = entry.check.routes.iter();
                named.map(|route| (Arc::clone(route), Arc::clone(entry)))
            })
            .collect();
        self.any.store(!routes.is_empty(), Ordering::Release);
    }

    /// Returns the check because of which a route is shed now.
    fn cause<'a>(&self, route: impl FnOnce() -> Route<'a>) -> Option<Arc<CheckEntry>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let routes = Arc::clone(&self.routes.lock());
        let route = route();
        // A check that has stopped running becomes unknown, and sheds nothing then.
        let (_, entry) = routes
            .iter()
            .find(|(named, entry)| route.is_meant_by(named) && entry.status() == Status::Down)?;
        Some(Arc::clone(entry))
    }
}
