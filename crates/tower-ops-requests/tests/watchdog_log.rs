//! What the report of a slow request contains.
//!
//! A file of its own, and so a process: a test beside it without a subscriber could
//! turn the event off while this one sets its own.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Response};
use tokio::time::{advance, sleep};
use tower_ops_requests::RequestTracker;
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::{answer, get};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_warning_has_the_facts_and_a_client_cannot_forge_a_line() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let tracker = RequestTracker::new();
    tokio::spawn(tracker.watch());
    let mut request = get("/a%0Ab");
    // Not visible ASCII, but a header may have it.
    let hostile = HeaderValue::from_bytes(b"x\tWARN forged \xc3\xbc").unwrap();
    request.headers_mut().insert("x-request-id", hostile);
    let body = ScriptedBody::new().stalled();
    let _response = answer(&tracker, request, Response::new(body));
    advance(Duration::from_secs(40)).await;
    sleep(Duration::from_secs(4)).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    for fact in [
        "WARN",
        "a request is slow and still running",
        "method=\"GET\"",
        "route=\"{unmatched}\"",
        "path=\"/a%0Ab\"",
        "request_id=\"x\\tWARN forged ü\"",
        "phase=\"body\"",
        "age_ms=4",
    ] {
        assert!(log.contains(fact), "{fact} is not in {log}");
    }
}
