use std::future::Future;
use std::io::{self, Write};
use std::task::{Context, Waker};

use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::Value as Json;
use tower::ServiceExt;
use tower_ops_testing::ScriptedBody;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::{Format, Logs};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Setup {
    logs: Logs,
    sink: Sink,
    _default: DefaultGuard,
}

impl Setup {
    fn new() -> Self {
        let sink = Sink::default();
        let logs = Logs::builder().environment(false).format(Format::Json);
        let logs = logs.writer(sink.clone()).build().unwrap();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        Self {
            _default: tracing::subscriber::set_default(subscriber),
            logs,
            sink,
        }
    }

    /// The messages of what was written since the last time.
    fn messages(&self) -> Vec<String> {
        assert!(self.logs.flush(Duration::from_secs(30)));
        let bytes = std::mem::take(&mut *self.sink.0.lock());
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_slice::<Json>(line).unwrap());
        lines
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn call(&self, method: &str, uri: &str, body: &str) -> (u16, Json) {
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(Full::new(body.to_owned().into())).unwrap();
        let request: Request<Full<bytes::Bytes>> = request;
        let response = self.logs.level_service().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Json::Null))
    }

    /// Waits for the thread that hands the filter back.
    fn until_lasting(&self) {
        while self.logs.level().current().returns.is_some() {
            thread::yield_now();
        }
    }
}

#[tokio::test]
async fn debug_lines_come_for_a_while_and_go_by_themselves() {
    let setup = Setup::new();
    let log = |text: &'static str| tracing::debug!("{text}");
    log("before");
    let (status, shown) = setup.call("PUT", "/loglevel?for=10m", "debug\n").await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(
        (&shown["filter"], &shown["returns_to"]),
        (&"debug".into(), &"info".into())
    );
    log("meanwhile");
    setup.logs.level().advance(Duration::from_secs(9 * 60));
    let (_, shown) = setup.call("GET", "/loglevel", "").await;
    assert_eq!(shown["filter"], "debug");
    let left = shown["returns_in_ms"].as_u64().unwrap();
    assert!(left <= 60_000, "{shown}");
    assert!(shown["returns_at"].as_str().unwrap().ends_with('Z'));
    log("still");
    setup.logs.level().advance(Duration::from_secs(60));
    setup.until_lasting();
    log("after");
    let (_, shown) = setup.call("GET", "/loglevel", "").await;
    let nothing = serde_json::json!({
        "filter": "info", "returns_to": null, "returns_at": null, "returns_in_ms": null,
    });
    assert_eq!(shown, nothing);
    // The thread has no subscriber, so that its own event is not here.
    let expected = ["the log filter was changed", "meanwhile", "still"];
    assert_eq!(setup.messages(), expected);
    // The thread has ended, and another one starts.
    setup.call("PUT", "/loglevel?for=1h", "trace").await;
    log("again");
    setup.logs.level().advance(Duration::from_secs(3600));
    setup.until_lasting();
    log("gone");
    assert_eq!(setup.messages(), ["the log filter was changed", "again"]);
}

#[tokio::test]
async fn a_change_without_a_time_lasts_and_ends_one_with_a_time() {
    let setup = Setup::new();
    setup.call("PUT", "/loglevel?for=10m", "debug").await;
    let (_, shown) = setup
        .call("PUT", "/loglevel?for=1m", "tower_ops_logs=trace")
        .await;
    // The lasting filter with the target, not the temporary one.
    assert_eq!(shown["filter"], "info,tower_ops_logs=trace");
    assert_eq!(shown["returns_to"], "info");
    let (_, shown) = setup.call("PUT", "/loglevel/", "warn").await;
    assert_eq!(
        (&shown["filter"], &shown["returns_to"]),
        (&"warn".into(), &Json::Null)
    );
    setup.logs.level().advance(Duration::from_secs(24 * 3600));
    setup.until_lasting();
    assert_eq!(setup.logs.filter(), "warn");
    setup.logs.set_filter("error", None).unwrap();
    assert_eq!(setup.logs.filter(), "error");
    setup.logs.set_filter("nonsense", None).unwrap_err();
    assert_eq!(setup.logs.filter(), "error");
}

#[tokio::test]
async fn nonsense_is_refused_with_the_reason_and_changes_nothing() {
    let setup = Setup::new();
    for (uri, body, reason) in [
        ("/loglevel", "", "the filter was not changed: it is empty"),
        (
            "/loglevel",
            "debgu",
            "the filter was not changed: directive 1: neither a level",
        ),
        (
            "/loglevel",
            "info,a[b]=debug",
            "the filter was not changed: directive 2: spans",
        ),
        ("/loglevel?for=ten", "debug", "for: not a time"),
        ("/loglevel?for=0s", "debug", "for: not a time"),
        ("/loglevel?for=25h", "debug", "for: not a time"),
        (
            "/loglevel?for=99999999999999999999h",
            "debug",
            "for: not a time",
        ),
        (
            "/loglevel?for=9999999999999999999h",
            "debug",
            "for: not a time",
        ),
        ("/loglevel?until=10m", "debug", "there is a parameter"),
        (
            "/loglevel?for=1s&for=2s",
            "debug",
            "for: given more than once",
        ),
    ] {
        let (status, answer) = setup.call("PUT", uri, body).await;
        assert_eq!(status, 400, "{uri} {body}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.starts_with(reason), "{error}");
    }
    let large = "a".repeat(4097);
    assert_eq!(setup.call("PUT", "/loglevel", &large).await.0, 413);
    assert_eq!(setup.call("POST", "/loglevel", "debug").await.0, 405);
    assert_eq!(setup.call("DELETE", "/loglevel", "").await.0, 405);
    assert_eq!(setup.call("GET", "/level", "").await.0, 404);
    assert_eq!(setup.call("GET", "/loglevel?for=1s", "").await.0, 400);
    assert_eq!(setup.call("HEAD", "/loglevel", "").await, (200, Json::Null));
    assert_eq!(
        setup.call("OPTIONS", "/loglevel", "").await,
        (200, Json::Null)
    );
    assert_eq!(setup.logs.filter(), "info");
    assert_eq!(setup.messages(), [""; 0]);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_no_text_changes_nothing() {
    let setup = Setup::new();
    let put = |body: ScriptedBody| {
        let request = Request::put("/loglevel").body(body).unwrap();
        setup.logs.level_service().oneshot(request)
    };
    let broken = put(ScriptedBody::new().data("debug").error("reset"))
        .await
        .unwrap();
    assert_eq!(broken.status(), 400);
    let bytes = put(ScriptedBody::new().data(&b"\xff"[..])).await.unwrap();
    assert_eq!(bytes.status(), 400);
    // Dropped before the body has come.
    let mut waiting = Box::pin(put(ScriptedBody::new().data("debug").stalled()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    drop(waiting);
    assert_eq!(setup.logs.filter(), "info");
    // In pieces, with trailers.
    let pieces = ScriptedBody::new().data("de").data("").data("bug");
    assert_eq!(put(pieces).await.unwrap().status(), 200);
    assert_eq!(setup.logs.filter(), "debug");
}

#[test]
fn everything_can_be_sent_and_shared() {
    const fn is<T: Send + Sync + 'static>() {}
    is::<Logs>();
    is::<crate::LogsLayer>();
    is::<LogsFilter>();
    is::<crate::LogsGuard>();
    is::<crate::LevelService>();
    is::<crate::RingService>();
    is::<crate::LevelFuture<Full<bytes::Bytes>>>();
}
