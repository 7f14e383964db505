//! Over real sockets: who leaves, and what panics, is logged once, and ends its span.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tower_layer::Layer;
use tower_ops_testing::{Http2Client, RawHttp1, Readied, ScriptedBody, Server};
use tower_ops_trace::{AccessLog, Spans};

#[path = "support/recorder.rs"]
mod recorder;
use recorder::{EventRecord, Recorder};

const ENDLESS: usize = 64 * 1024;

/// `/stream` sends some and waits, `/wait` never answers, `/panic` panics in the body, and all else
/// answers at once.
async fn serve() -> Server {
    let spans = Spans::new().with_access_log(AccessLog::new());
    let service = spans
        .into_layer()
        .layer(Readied::from_fn(async |request: Request<Incoming>| {
            let some = ScriptedBody::new().data(Bytes::from(vec![b'x'; ENDLESS]));
            let body = match request.uri().path() {
                "/stream" => some.stalled(),
                "/panic" => some.panic(),
                "/wait" => std::future::pending().await,
                _ => some,
            };
            Ok::<_, Infallible>(Response::new(body))
        }));
    Server::spawn(service).await
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let deadline = Duration::from_secs(10);
    tokio::time::timeout(deadline, waiting).await.unwrap();
}

/// Waits for so many events, and a while for more.
async fn logged(recorder: &Recorder, count: usize) -> Vec<EventRecord> {
    until(|| recorder.access().len() >= count).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    recorder.access()
}

fn outcomes(events: &[EventRecord]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.get("outcome").unwrap())
        .collect()
}

fn assert_closed(recorder: &Recorder, count: usize) {
    let spans = recorder.requests();
    assert_eq!(spans.len(), count);
    assert!(
        spans
            .iter()
            .all(|span| span.closed && span.get("outcome").is_some())
    );
}

#[tokio::test]
async fn a_client_of_http_1_that_leaves_is_logged_once() {
    let (recorder, _guard) = Recorder::start();
    let server = serve().await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    client
        .send_request("GET", "/stream", &[], "")
        .await
        .unwrap();
    client.read_head().await.unwrap();
    client.reset();
    logged(&recorder, 1).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    client.send_request("GET", "/wait", &[], "").await.unwrap();
    until(|| recorder.requests().len() == 2).await;
    client.reset();
    let events = logged(&recorder, 2).await;
    assert_eq!(
        outcomes(&events),
        ["cancelled_during_body", "cancelled_before_head"]
    );
    assert_closed(&recorder, 2);
}

#[tokio::test]
async fn a_client_of_http_2_that_leaves_is_logged_once() {
    let (recorder, _guard) = Recorder::start();
    let server = serve().await;
    let client = Http2Client::connect(server.addr()).await.unwrap();
    let mut response = client.get("/stream").await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    logged(&recorder, 1).await;
    tokio::select! {
        _ = client.get("/wait") => panic!("it never answers"),
        () = until(|| recorder.requests().len() == 2) => {}
    }
    let events = logged(&recorder, 2).await;
    assert_eq!(
        outcomes(&events),
        ["cancelled_during_body", "cancelled_before_head"]
    );
    assert_closed(&recorder, 2);

    // The connection is fine.
    let response = client.get("/").await.unwrap();
    assert_eq!(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .len(),
        ENDLESS
    );
    let events = logged(&recorder, 3).await;
    assert_eq!(events[2].get("bytes_out"), Some("65536"));
}

#[tokio::test]
async fn a_panic_in_the_body_is_logged_once() {
    let (recorder, _guard) = Recorder::start();
    let server = serve().await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    client.send_request("GET", "/panic", &[], "").await.unwrap();
    let events = logged(&recorder, 1).await;
    assert_eq!(outcomes(&events), ["panicked"]);
    assert_closed(&recorder, 1);
}
