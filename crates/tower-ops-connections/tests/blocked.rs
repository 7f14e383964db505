//! Handlers that block their thread: whoever waits for the end does not wait for them.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower_ops_connections::Connections;
use tower_ops_testing::{Http2Client, RawHttp1};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_does_not_hold_the_server() {
    for http2 in [false, true] {
        let (release, released) = mpsc::channel::<()>();
        let (here, is_here) = mpsc::channel();
        let released = Arc::new(Mutex::new(released));
        let app = Router::new().route(
            "/",
            get(async move || {
                here.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Connections::new().server();
        let server = server.drain_timeout(Duration::from_millis(50));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(listener, app, async {
            let _ = stopped.await;
        }));
        let mut http1 = RawHttp1::connect(addr).await.unwrap();
        let client = Http2Client::connect(addr).await.unwrap();
        let asking = if http2 {
            tokio::spawn(async move { drop(client.get("/").await) })
        } else {
            http1.send_request("GET", "/", &[], "").await.unwrap();
            tokio::spawn(async {})
        };
        tokio::task::spawn_blocking(move || is_here.recv_timeout(LONG).unwrap())
            .await
            .unwrap();
        drop(stop);
        // It blocks until it is released, which comes last.
        let report = timeout(LONG, serving).await.unwrap().unwrap();
        if !http2 {
            assert_eq!(report.left, 1, "{report}");
        }
        drop(release);
        asking.abort();
    }
}
