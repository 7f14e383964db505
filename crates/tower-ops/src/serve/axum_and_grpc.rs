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
/// A [gRPC call](GrpcProtocol::of) goes to tonic's routes, which answer a method that they do not
/// have with `UNIMPLEMENTED`. Any other request goes to the application, which keeps its fallback,
/// and answers 404 without one: also on the path of a gRPC method. What the two know never
/// collides.
///
/// Put layers for both around the result, [`Ops::layer`](crate::Ops::layer) among them: it knows
/// the routes of both. Routes, a fallback and layers of the application alone go onto `app`
/// before. For gRPC-Web wrap the services in `tonic_web::GrpcWebLayer`.
///
/// `app.merge(routes.into_axum_router())` does less: it panics if the application has a fallback,
/// and answers every path that nobody knows with the HTTP status 200 otherwise.
///
/// Costs a look at the content type of each `POST`, and a clone for each request.
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
    // Within the application's router, its fallback included: layers around see what it matched.
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

/// Both are always ready.
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
