//! A tonic service: request ids, metrics by gRPC status, and probes.
//!
//! ```text
//! cargo run --example grpc
//! ```
//!
//! It listens on `GRPC_ADDR` (127.0.0.1:50051), its operations endpoint on `OPS_ADDR`
//! (127.0.0.1:8080). The service is `playground.Echo`, see `proto/playground.proto`; it answers
//! server reflection, so that grpcurl needs no file. From a second terminal:
//!
//! ```text
//! $ grpcurl -plaintext -d '{"message":"hello"}' 127.0.0.1:50051 playground.Echo/Unary
//! {
//!   "message": "hello"
//! }
//! $ grpcurl -plaintext -d '{"messages":1,"code":5,"message":"gone"}' 127.0.0.1:50051 playground.Echo/Fail
//! {
//!   "message": "0"
//! }
//! ERROR:
//!   Code: NotFound
//!   Message: gone
//! $ curl -s http://127.0.0.1:8080/metrics | grep rpc_server_call_duration_seconds_count
//! rpc_server_call_duration_seconds_count{…rpc_method="playground.Echo/Unary",rpc_response_status_code="OK"} 1
//! rpc_server_call_duration_seconds_count{…rpc_method="playground.Echo/Fail",rpc_response_status_code="NOT_FOUND"} 1
//! $ curl -s 'http://127.0.0.1:8080/requests/history?limit=1'
//! {"requests":[{"id":2,…"route":"playground.Echo/Fail",…"outcome":"completed",…"grpc_status":"NOT_FOUND",…}]}
//! ```
//!
//! And without grpcurl:
//!
//! ```text
//! $ printf '\0\0\0\0\7\n\5hello' | curl -s --http2-prior-knowledge --data-binary @- \
//!     -H 'content-type: application/grpc' -H 'te: trailers' --output - \
//!     http://127.0.0.1:50051/playground.Echo/Unary | strings
//! hello
//! ```
use std::{env, error::Error};

use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};
use tower_ops::{
    Ops,
    logs::{self, Logs},
};
use tower_ops_examples::{
    echo::Playground,
    playground::{FILE_DESCRIPTOR_SET, echo_server::EchoServer},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _flushed_at_the_end = logs::init();
    let grpc_addr = env::var("GRPC_ADDR").unwrap_or_else(|_| "127.0.0.1:50051".to_owned());
    let ops_addr = env::var("OPS_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let ops = Ops::builder("grpc")
        .logs(Logs::active())
        .ops_addr(ops_addr)
        // Optional: a method that is not named here is learned when it first answers.
        .grpc_methods([
            "playground.Echo/Unary",
            "playground.Echo/ServerStream",
            "playground.Echo/Fail",
        ])
        .request_details(true)
        .build()?;

    let listener = TcpListener::bind(&grpc_addr)
        .await
        .map_err(|error| format!("cannot listen on {grpc_addr}: {error}"))?;
    let own = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    // The same twice: some clients, Python's grpcio among them, know only the older version.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    let (reflection_v1, reflection_v1alpha) =
        (reflection().build_v1()?, reflection().build_v1alpha()?);

    // Runs until it is dropped.
    let operations = ops.start_operations()?;
    ops.mark_ready();
    eprintln!(
        "gRPC on http://{own}, operations on http://{}",
        operations.addr()
    );

    let life = ops.lifecycle();
    let server = Server::builder()
        .layer(ops.layer())
        .add_service(ops.health().grpc().with_services(["playground.Echo"]))
        .add_service(EchoServer::new(Playground))
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha)
        .serve_with_incoming_shutdown(incoming, life.signal_to_stop());
    // What still runs at the end of the drain is dropped, and listed in the report.
    if let Ok(served) = life.with_deadline(server).await {
        served?;
    }
    life.shutdown(); // where the server ended by itself
    eprintln!("{}", life.run().await);
    Ok(())
}
