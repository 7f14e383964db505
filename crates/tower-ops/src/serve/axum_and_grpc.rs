use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::Route;
use axum::routing::future::RouteFuture;
use http::Request;
use tonic::service::Routes;
use tower_layer::Layer;
use tower_ops_observe::GrpcProtocol;
use tower_service::Service;

/// Puts an axum application and gRPC services on one port.
///
/// A [gRPC call](GrpcProtocol::of) goes to tonic's routes, which answer an unknown method with
/// `UNIMPLEMENTED`. Any other request goes to the application, also one for the path of a gRPC
/// method: the paths of the two never collide. The application keeps its fallback, or answers 404.
///
/// Put layers for both around the result, such as [`Ops::layer`](crate::Ops::layer), which finds the
/// routes of both. Add layers for the application alone to `app` before. For gRPC-Web wrap the
/// services in `tonic_web::GrpcWebLayer`.
///
/// Use it in place of `app.merge(routes.into_axum_router())`. That panics if the application has a
/// fallback, and otherwise answers every unknown path with the HTTP status 200.
///
/// Costs a look-up of the content type for each `POST`, and a clone of the router for each request.
///
/// # Examples
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use tokio::net::TcpListener;
/// use tonic::service::Routes;
/// use tower_ops::{Ops, axum_and_grpc};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let ops = Ops::builder("orders").build()?;
/// let web = Router::new().route("/", get(async || "hello"));
/// let grpc = Routes::new(ops.health().grpc());
/// let app = axum_and_grpc(web, grpc).layer(ops.layer());
/// ops.serve(TcpListener::bind("0.0.0.0:3000").await?, app).await?;
/// # Ok(())
/// # }
/// ```
#[cfg_attr(docsrs, doc(cfg(all(feature = "axum", feature = "tonic"))))]
pub fn axum_and_grpc(app: Router, grpc: Routes) -> Router {
    // Inside of the application's router and its fallback, so that layers around see the route.
    app.layer(GrpcFirst {
        grpc: grpc.into_axum_router(),
    })
}

#[derive(Clone)]
struct GrpcFirst {
    grpc: Router,
}

impl Layer<Route> for GrpcFirst {
    type Service = ByProtocol;

    fn layer(&self, app: Route) -> ByProtocol {
        ByProtocol {
            app,
            grpc: self.grpc.clone(),
        }
    }
}

/// Both services are always ready.
#[derive(Clone)]
struct ByProtocol {
    app: Route,
    grpc: Router,
}

impl Service<Request<Body>> for ByProtocol {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match GrpcProtocol::of(&request) {
            Some(_) => self.grpc.call(request),
            None => self.app.call(request),
        }
    }
}
