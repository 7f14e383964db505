//! In which order events come: nothing of a connection after its `Closed`.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use http::{Request, Response, StatusCode};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::io::{DuplexStream, duplex};
use tower::{Service, service_fn};
use tower_ops_connections::{
    ConnectionEvent, Connections, ConnectionsBuilder, Peer, Tracked, TrackedBody,
};

type Log = Arc<Mutex<Vec<&'static str>>>;

fn logged(builder: ConnectionsBuilder) -> (Connections, Log) {
    let log = Log::default();
    let events = Arc::clone(&log);
    let builder = builder.on_event(move |event| {
        let name = match event {
            ConnectionEvent::Opened(_) => "opened",
            ConnectionEvent::Protocol(_) => "protocol",
            ConnectionEvent::Busy(_) => "busy",
            ConnectionEvent::Idle(_) => "idle",
            ConnectionEvent::Closing(..) => "closing",
            ConnectionEvent::Closed { connection, .. } => {
                // Which is no deadlock, and no event.
                connection.close();
                "closed"
            }
            _ => "other",
        };
        events.lock().unwrap().push(name);
    });
    (builder.build().unwrap(), log)
}

async fn open(connections: &Connections) -> (Tracked<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(8);
    let io = connections.accept(server, Peer::Unknown).await.unwrap();
    (io, client)
}

#[tokio::test]
async fn a_response_that_outlives_its_connection_says_nothing_and_counts_nothing() {
    for status in [StatusCode::OK, StatusCode::SWITCHING_PROTOCOLS] {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let builder = Connections::builder().recorder(Arc::new(recorder));
        let (connections, log) = logged(builder);
        let (io, _client) = open(&connections).await;
        let connection = io.connection().clone();
        let mut service = connection.service(service_fn(
            move |_: Request<TrackedBody<String>>| async move {
                let response = Response::builder().status(status).body(String::new());
                Ok::<_, Infallible>(response.unwrap())
            },
        ));
        let response = service.call(Request::new(String::new()));
        drop(io);
        drop(response.await.unwrap());
        connection.close();
        drop(connection.busy());
        assert_eq!(
            *log.lock().unwrap(),
            ["opened", "protocol", "busy", "closed"]
        );
        let mut gauges = BTreeMap::<String, f64>::new();
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            if let DebugValue::Gauge(value) = value {
                *gauges.entry(key.key().to_string()).or_default() += value.into_inner();
            }
        }
        assert!(gauges.values().all(|it| *it == 0.0), "{gauges:?}");
    }
}

#[tokio::test]
async fn closed_is_the_last_whichever_thread_is_faster() {
    for _ in 0..500 {
        let (connections, log) = logged(Connections::builder());
        let (io, _client) = open(&connections).await;
        let connection = io.connection().clone();
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..3 {
                    drop(connection.busy());
                    drop(connection.service(()));
                }
            });
            scope.spawn(|| {
                barrier.wait();
                connection.close();
            });
            barrier.wait();
            drop(io);
        });
        let log = log.lock().unwrap();
        assert_eq!(log.first(), Some(&"opened"));
        assert_eq!(log.last(), Some(&"closed"), "{log:?}");
        assert_eq!(log.iter().filter(|it| **it == "closed").count(), 1);
    }
}
