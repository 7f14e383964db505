//! The end of a server: what blocks does not hold it, and dropping it aborts all that it has.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::extract::{WebSocketUpgrade, ws::WebSocket};
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

/// Reports that it was dropped.
struct Dropped(
    &'static str,
    tokio::sync::mpsc::UnboundedSender<&'static str>,
);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

#[tokio::test]
async fn dropping_the_server_aborts_handlers_streams_and_what_was_upgraded() {
    let (dropped, mut drops) = tokio::sync::mpsc::unbounded_channel();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let waits = |name: &'static str| {
        let (dropped, begun) = (dropped.clone(), begun.clone());
        async move || {
            let _dropped = Dropped(name, dropped);
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let socket = {
        let (dropped, begun) = (dropped.clone(), begun.clone());
        async move |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket: WebSocket| {
                let _dropped = Dropped("websocket", dropped);
                begun.send(()).unwrap();
                while let Some(Ok(_)) = socket.recv().await {}
            })
        }
    };
    let app = Router::new()
        .route("/one", get(waits("http1")))
        .route("/two", get(waits("http2")))
        .route("/ws", get(socket));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Connections::new();
    let server = connections.server();
    let serving = tokio::spawn(server.serve(listener, app, std::future::pending()));
    let mut one = RawHttp1::connect(addr).await.unwrap();
    one.send_request("GET", "/one", &[], "").await.unwrap();
    let two = Http2Client::connect(addr).await.unwrap();
    let asking = tokio::spawn(async move { two.get("/two").await.map(drop) });
    let mut websocket = RawHttp1::connect(addr).await.unwrap();
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let request = websocket.send_request("GET", "/ws", &headers, "");
    request.await.unwrap();
    for _ in 0..3 {
        timeout(LONG, begins.recv()).await.unwrap().unwrap();
    }
    serving.abort();
    let mut gone = Vec::new();
    for _ in 0..3 {
        gone.push(timeout(LONG, drops.recv()).await.unwrap().unwrap());
    }
    gone.sort_unstable();
    assert_eq!(gone, ["http1", "http2", "websocket"]);
    assert!(asking.await.unwrap().is_err());
    while !connections.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
