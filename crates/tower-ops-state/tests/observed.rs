//! The audit and the metrics: each attempt once, and nothing of what it was about.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use metrics_exporter_prometheus::PrometheusBuilder;
use tower::ServiceExt as _;
use tower_ops_state::{Peer, Restore, State, StateService};
use tracing_subscriber::fmt::MakeWriter;

use self::eventually::eventually;
use self::shelf::{Mode, Shelf};

#[path = "support/eventually.rs"]
mod eventually;
#[path = "support/shelf.rs"]
mod shelf;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(text).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

async fn ask(service: StateService, method: &str, token: &str, body: &[u8]) -> u16 {
    use http_body_util::{BodyExt as _, Full};

    let request = http::Request::builder()
        .method(method)
        .uri("/")
        .extension(Peer::new("192.0.2.7:4711"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let body = bytes::Bytes::copy_from_slice(body);
    let request = request.body(Full::new(body)).unwrap();
    let Ok(response) = service.oneshot(request).await;
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

// The subscriber is the process's, as restores end on another thread: one test.
#[tokio::test]
async fn each_attempt_is_logged_and_counted_once() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let shelf = Shelf::new("shelf", &["a secret"]);
    let state = State::builder("shop", "1")
        .participant(shelf.clone())
        .token("0123456789abcdef")
        .next_token("fedcba9876543210")
        .restore_when(|| true)
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    let only = |wanted: &[&str]| {
        let lines = lines.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for wanted in wanted {
            assert!(lines[0].contains(wanted), "{wanted}: {lines:?}");
        }
        assert!(!lines[0].contains("secret"), "{lines:?}");
    };

    let capture = state.capture().await.unwrap();
    let digest = format!("digest=\"{}\"", capture.digest());
    let size = format!("size={}", capture.size());
    let of = "tower_ops_state::audit";
    only(&[
        of,
        "operation=\"capture\"",
        "outcome=\"ok\"",
        "\"process\"",
        &digest,
        &size,
    ]);
    let mut envelope = Vec::new();
    capture.write_to(&mut envelope).unwrap();

    let (current, next) = ("0123456789abcdef", "fedcba9876543210");
    assert_eq!(ask(state.service(), "GET", current, b"").await, 200);
    let peer = "peer=\"192.0.2.7:4711\"";
    only(&[
        "\"capture\"",
        "\"ok\"",
        "token=\"current\"",
        peer,
        &digest,
        &size,
    ]);
    assert_eq!(ask(state.service(), "POST", next, &envelope).await, 200);
    only(&[
        "\"restore\"",
        "\"ok\"",
        "token=\"next\"",
        peer,
        &digest,
        &size,
    ]);
    assert_eq!(
        ask(state.service(), "POST", "a secret token", &envelope).await,
        401
    );
    only(&["\"restore\"", "\"unauthorized\"", "token=\"nobody\"", peer]);
    let mut broken = envelope.clone();
    broken[200] ^= 1;
    assert_eq!(ask(state.service(), "POST", next, &broken).await, 400);
    only(&["\"restore\"", "\"broken\"", peer]);
    shelf.next(Mode::RefusePrepare);
    assert_eq!(ask(state.service(), "POST", next, &envelope).await, 422);
    only(&["\"restore\"", "\"refused\"", &digest]);
    assert_eq!(ask(state.service(), "PUT", next, b"").await, 405);
    only(&["\"rejected\""]);

    // Abandoned in a commit: its result is still logged.
    shelf.next(Mode::WaitInCommitHalfWay);
    let (of, body) = (state.service(), envelope.clone());
    let asking = tokio::spawn(async move { ask(of, "POST", "0123456789abcdef", &body).await });
    shelf.reached().await;
    asking.abort();
    asking.await.unwrap_err();
    assert_eq!(lines.take(), [""; 0]);
    shelf.go_on();
    let dry = Restore::new().dry_run(true);
    eventually(async || state.restore(envelope.clone(), dry).await.is_ok()).await;
    let logged = lines.take();
    let ended = logged.iter().filter(|line| line.contains("\"restore\""));
    let ended: Vec<_> = ended.collect();
    assert_eq!(ended.len(), 1, "{logged:?}");
    assert!(ended[0].contains("outcome=\"ok\""), "{logged:?}");

    // Abandoned before: cancelled.
    shelf.next(Mode::WaitInCapture);
    let service = state.service();
    let asking = tokio::spawn(async move { ask(service, "GET", "0123456789abcdef", b"").await });
    shelf.reached().await;
    asking.abort();
    asking.await.unwrap_err();
    only(&["\"capture\"", "outcome=\"cancelled\""]);
    shelf.go_on();

    let text = metrics.render();
    for wanted in [
        "state_operations_total{operation=\"capture\",outcome=\"ok\"} 2",
        "state_operations_total{operation=\"capture\",outcome=\"cancelled\"} 1",
        "state_operations_total{operation=\"restore\",outcome=\"ok\"} 2",
        "state_operations_total{operation=\"restore\",outcome=\"unauthorized\"} 1",
        "state_operations_total{operation=\"restore\",outcome=\"broken\"} 1",
        "state_operations_total{operation=\"restore\",outcome=\"refused\"} 1",
        "state_operations_total{operation=\"save_file\",outcome=\"ok\"} 0",
        "state_save_duration_seconds_count 2",
        "state_load_duration_seconds_count 2",
        &format!("state_size_bytes {}", envelope.len()),
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}
