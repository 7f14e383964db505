//! Bare hyper: an accept loop of your own, with the operations layer and endpoint.
//!
//! ```text
//! cargo run --example hyper
//! ```
//!
//! It listens on `APP_ADDR` (127.0.0.1:3000), its operations endpoint on `OPS_ADDR`
//! (127.0.0.1:8080). From a second terminal:
//!
//! ```text
//! $ curl -i http://127.0.0.1:3000/hello -H 'x-request-id: demo-1'
//! HTTP/1.1 200 OK
//! x-request-id: demo-1
//! content-length: 22
//! date: Sat, 21 Nov 2026 00:15:55 GMT
//!
//! GET /hello, id demo-1
//! $ curl -s http://127.0.0.1:8080/metrics | grep ^server_requests_total
//! server_requests_total{outcome="completed",class="success"} 1
//! ```
use std::{convert::Infallible, env, error::Error};

use http::{Request, Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_ops::{
    Ops,
    connections::Acceptor,
    logs::{self, Logs},
    observe::RouteHook,
    request_id::RequestId,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _flushed_at_the_end = logs::init();
    let app_addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let ops_addr = env::var("OPS_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let ops = Ops::builder("hyper")
        .logs(Logs::active())
        .ops_addr(ops_addr)
        .build()?;

    let service = ServiceBuilder::new()
        // From the signal to stop on, HTTP/1 responses have `connection: close`.
        .layer(ops.lifecycle().connection_close())
        .layer(ops.layer())
        // Bare hyper has no router: these requests all count under one route.
        .layer(RouteHook::named("/{*path}"))
        .service_fn(answer);

    let listener = TcpListener::bind(&app_addr)
        .await
        .map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    // Runs until it is dropped.
    let operations = ops.start_operations()?;
    ops.mark_ready();
    eprintln!(
        "application on http://{}, operations on http://{}",
        listener.local_addr()?,
        operations.addr()
    );

    // Some seconds after the signal to stop: until then clients still connect.
    let stop = ops.lifecycle().drain_token();
    let mut acceptor = Acceptor::new(listener);
    loop {
        let accepted = tokio::select! {
            accepted = ops.connections().accept_from(&mut acceptor) => accepted,
            () = stop.cancelled() => break,
        };
        // Refused, if there is a limit.
        let Ok(io) = accepted else {
            continue;
        };
        let service = TowerToHyperService::new(io.connection().service(service.clone()));
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection(TokioIo::new(io), service);
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection failed");
            }
        });
    }

    drop(acceptor);
    // The drain closes what is in `ops.connections()`.
    eprintln!("{}", ops.lifecycle().run().await);
    Ok(())
}

async fn answer<B>(request: Request<B>) -> Result<Response<String>, Infallible> {
    let id = RequestId::current();
    let id = id.as_ref().map_or("none", RequestId::as_str);
    let path = request.uri().path();
    let text = format!("{} {path}, id {id}\n", request.method());
    Ok(Response::new(text))
}
