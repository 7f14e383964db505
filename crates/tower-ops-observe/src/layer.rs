use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tower_layer::Layer;

use crate::facts::Side;
use crate::grpc::GrpcMethods;
use crate::life::Watch;
use crate::observe::Observe;
use crate::service::ObserveService;
use crate::shared::Shared;

/// Lets an observer watch every exchange that passes.
///
/// Put it outermost, so that what other layers answer is seen too. Costs no
/// allocation of its own; clones share the observer.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer};
///
/// struct Print;
///
/// impl Observe for Print {
///     type Exchange = ();
///     fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) {}
///     fn on_end(&self, _: &mut (), ending: &Ending<'_>, facts: &Facts) {
///         println!("{} {}", facts.method().as_str(), ending.outcome());
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let service = ServiceBuilder::new()
///     .layer(ObserveLayer::new(Print))
///     .service_fn(async |_: Request<()>| Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::from("hello"))));
/// let response = service.oneshot(Request::new(())).await;
/// # drop(response);
/// # }
/// ```
pub struct ObserveLayer<O: Observe> {
    watch: Shared<Watch<O>>,
}

impl<O: Observe> ObserveLayer<O> {
    /// Watches requests that come in.
    #[must_use]
    pub fn new(observer: O) -> Self {
        Self::watching(observer, Side::Server)
    }

    /// Watches requests that go out, around a client.
    #[must_use]
    pub fn outgoing(observer: O) -> Self {
        Self::watching(observer, Side::Client)
    }

    /// Names gRPC methods of this service, as `package.Service/Method`.
    ///
    /// A method that is not named is learned when it first answers with success,
    /// with a stream, or with an error that only a method gives, such as
    /// `NOT_FOUND`. Until then its calls count for `_OTHER`, like those of
    /// methods that are not registered. At most 1,024 methods have a name of their own.
    #[must_use]
    pub fn with_grpc_methods<M: AsRef<str>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        for method in methods {
            let method = method.as_ref();
            let method = method.strip_prefix('/').unwrap_or(method);
            self.watch.methods.learn(method);
        }
        self
    }

    /// Ends gRPC calls at the deadline of `grpc-timeout`, wherever they are: without a head the answer
    /// is `DEADLINE_EXCEEDED` alone, and in the middle of a stream that status ends it.
    ///
    /// The handler, or the stream, is dropped then. Other requests, and calls without a deadline or
    /// with one that cannot be read, pass as they are; a call with one costs an allocation. Clones
    /// share the setting.
    #[must_use]
    pub fn with_grpc_timeout(self) -> Self {
        self.watch.ends_calls.store(true, Ordering::Relaxed);
        self
    }

    /// Returns a layer with another observer, made of this one's, that shares with this one which
    /// gRPC methods are known, and the setting of [`with_grpc_timeout`](Self::with_grpc_timeout).
    #[must_use]
    pub fn map_observer<P: Observe>(&self, make: impl FnOnce(&O) -> P) -> ObserveLayer<P> {
        let (side, methods) = (self.watch.side, Arc::clone(&self.watch.methods));
        let ends_calls = self.watch.ends_calls.load(Ordering::Relaxed);
        let layer = ObserveLayer {
            watch: Shared::new(Watch::new(make(&self.watch.observer), side, methods)),
        };
        layer.watch.ends_calls.store(ends_calls, Ordering::Relaxed);
        layer
    }

    /// The observer.
    #[must_use]
    pub fn observer(&self) -> &O {
        &self.watch.observer
    }

    fn watching(observer: O, side: Side) -> Self {
        Self {
            watch: Shared::new(Watch::new(observer, side, Arc::new(GrpcMethods::new()))),
        }
    }
}

impl<S, O: Observe> Layer<S> for ObserveLayer<O> {
    type Service = ObserveService<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        ObserveService::new(inner, self.watch.clone())
    }
}

impl<O: Observe> Clone for ObserveLayer<O> {
    fn clone(&self) -> Self {
        Self {
            watch: self.watch.clone(),
        }
    }
}

impl<O: Observe> fmt::Debug for ObserveLayer<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserveLayer")
            .field("side", &self.watch.side)
            .finish_non_exhaustive()
    }
}
