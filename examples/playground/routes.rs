//! Every route, without the operations layer.

use std::net::SocketAddr;

use axum::{
    Router, middleware,
    routing::{any, get, post},
};
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;
use tower_ops::{Ops, observe::RouteHook, otel::Telemetry};
use tower_ops_examples::{echo::Playground, playground::echo_server::EchoServer};

use crate::{answers, bodies, call, live, uploads};

/// `own` is where `/call` finds this service.
pub(crate) fn app(own: SocketAddr, telemetry: &Telemetry) -> Router {
    let users = Router::new().route("/users/{id}", get(answers::user));
    Router::new()
        .route("/", get(async || "tower-ops playground\n"))
        .route("/users/{id}", get(answers::user))
        .route("/slow/{ms}", get(answers::slow))
        .route("/block/{ms}", get(answers::block))
        .route("/status/{code}", get(answers::status))
        .route("/final/{code}", get(answers::final_status))
        .route("/headers", get(answers::headers))
        .route("/id", get(answers::id))
        .route("/panic", get(bodies::panic_in_handler))
        .route("/panic-body", get(bodies::panic_in_body))
        .route("/stream/{chunks}/{ms}", get(bodies::streamed))
        .route("/short/{announced}/{sent}", get(bodies::short))
        .route("/error-body/{chunks}", get(bodies::error_in_body))
        .route("/echo", post(bodies::echo))
        .merge(uploads::routes())
        .route("/sse", get(live::events))
        .route("/ws", any(live::websocket))
        .nest("/nested", users.clone())
        // Outer layers see only `/service/…`; the hook records the rest of the route.
        .nest_service("/service", users.layer(RouteHook::new()))
        .merge(call::routes(own, telemetry))
        .layer(middleware::from_fn(call::report_seen_headers))
}

/// gRPC and, for browsers, gRPC-Web.
pub(crate) fn grpc(ops: &Ops) -> Routes {
    let web = ServiceBuilder::new().layer(GrpcWebLayer::new());
    Routes::new(web.service(EchoServer::new(Playground)))
        .add_service(ops.health().grpc().with_services(["playground.Echo"]))
}
