//! The contract of `/requests`, `/requests/history` and `/requests/stats`.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::advance;
use tower::ServiceExt;
use tower_ops_requests::{RequestHandle, RequestTracker, RequestsService};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::{Tracked, answer, exchange, get, handle};

async fn ask(
    service: &RequestsService,
    method: Method,
    uri: &str,
) -> (http::response::Parts, Vec<u8>) {
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let Ok(response) = service.clone().oneshot(request).await;
    let (parts, body) = response.into_parts();
    assert!(body.size_hint().exact().is_some());
    let Ok(body) = body.collect().await;
    (parts, body.to_bytes().to_vec())
}

async fn json(service: &RequestsService, uri: &str) -> Value {
    let (head, body) = ask(service, Method::GET, uri).await;
    assert_eq!(head.status, StatusCode::OK, "{uri}");
    serde_json::from_slice(&body).unwrap()
}

fn all(tracker: &RequestTracker) -> RequestsService {
    tracker.service().details(true)
}

fn open(tracker: &RequestTracker, path: &str) -> Response<Tracked> {
    answer(
        tracker,
        get(path),
        Response::new(ScriptedBody::new().stalled()),
    )
}

#[tokio::test]
async fn each_question_gets_its_status_and_never_what_was_asked() {
    let service = all(&RequestTracker::new());
    let limits = json!(["limit", "after"]);
    let filters = json!([
        "request_id",
        "kept",
        "outcome",
        "class",
        "route",
        "min_ms",
        "limit"
    ]);
    for (method, uri, status, key, shown) in [
        ("GET", "/requests", 200, "requests", json!([])),
        ("GET", "/requests?limit=1000", 200, "requests", json!([])),
        (
            "GET",
            "/requests?limit=0",
            400,
            "parameters",
            limits.clone(),
        ),
        (
            "GET",
            "/requests?limit=1001",
            400,
            "parameters",
            limits.clone(),
        ),
        (
            "GET",
            "/requests?limit=x%22",
            400,
            "parameters",
            limits.clone(),
        ),
        (
            "GET",
            "/requests?limit=1&limit=1",
            400,
            "parameters",
            limits.clone(),
        ),
        (
            "GET",
            "/requests?outcome=failed",
            400,
            "parameters",
            limits.clone(),
        ),
        (
            "GET",
            "/requests?after=7",
            400,
            "parameters",
            limits.clone(),
        ),
        (
            "GET",
            "/requests?after=-",
            400,
            "parameters",
            limits.clone(),
        ),
        ("GET", "/requests?%3Cscript%3E=1", 400, "parameters", limits),
        ("GET", "/requests/history", 200, "requests", json!([])),
        (
            "GET",
            "/requests/history?outcome=panicked",
            200,
            "requests",
            json!([]),
        ),
        (
            "GET",
            "/requests/history?outcome=success&route=%2Fa&limit=3",
            200,
            "requests",
            json!([]),
        ),
        (
            "GET",
            "/requests/history?outcome=nonsense",
            400,
            "parameters",
            filters.clone(),
        ),
        (
            "GET",
            "/requests/history?after=1-1",
            400,
            "parameters",
            filters,
        ),
        ("GET", "/requests/stats", 200, "in_flight", json!(0)),
        (
            "GET",
            "/requests/stats?limit=1",
            400,
            "parameters",
            json!([]),
        ),
        ("POST", "/requests", 405, "allow", json!(["GET", "HEAD"])),
        (
            "DELETE",
            "/requests/history",
            405,
            "allow",
            json!(["GET", "HEAD"]),
        ),
        ("GET", "/requests//", 404, "error", json!("not found")),
        ("GET", "/requests/7", 404, "error", json!("not found")),
        ("GET", "/", 404, "error", json!("not found")),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let (head, body) = ask(&service, method, uri).await;
        assert_eq!(head.status.as_u16(), status, "{uri}");
        assert_eq!(head.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(head.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(head.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(head.headers.contains_key(header::ALLOW), status == 405);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer[key], shown, "{uri}");
        assert_eq!(answer.get("error").is_some(), status != 200, "{uri}");
        let text = String::from_utf8(body).unwrap();
        assert!(text.ends_with('\n') && !text.contains("script") && !text.contains("x\\\""));
    }
}

#[tokio::test]
async fn the_answer_to_a_wrong_outcome_names_all_outcomes() {
    let service = all(&RequestTracker::new());
    let (_, body) = ask(&service, Method::GET, "/requests/history?outcome=no").await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let error = answer["error"].as_str().unwrap();
    for name in [
        "success",
        "timeout",
        "cancelled",
        "timed_out",
        "cancelled_before_head",
        "upgraded",
    ] {
        assert!(error.contains(name), "{name} is not in {error}");
    }
}

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let tracker = RequestTracker::new();
    exchange(&tracker, "/");
    let service = all(&tracker);
    for uri in ["/requests", "/requests/stats", "/requests?limit=0", "/none"] {
        let (of_get, body) = ask(&service, Method::GET, uri).await;
        let (of_head, nothing) = ask(&service, Method::HEAD, uri).await;
        assert_eq!(of_head.status, of_get.status);
        assert_eq!(of_head.headers, of_get.headers);
        assert_eq!(
            of_get.headers[header::CONTENT_LENGTH],
            body.len().to_string()
        );
        assert!(nothing.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_has_these_fields_before_and_after() {
    let tracker = RequestTracker::builder()
        .peer(|_| "192.0.2.7:4711".parse().ok())
        .build()
        .unwrap();
    let mut request = get("/users/1");
    let id = HeaderValue::from_static("order-7");
    request.headers_mut().insert("x-request-id", id);
    let response = handle(&tracker, request, || {
        RequestHandle::current().unwrap().annotate("tenant", 7);
        Response::new(ScriptedBody::new().stalled())
    });
    advance(Duration::from_micros(1_500)).await;
    let service = all(&tracker);
    let answer = json(&service, "/requests").await;
    let id = answer["requests"][0]["id"].as_u64().unwrap();
    let mut fields = json!({
        "id": id, "kind": "request", "parent": null, "request_id": "order-7", "trace_id": null,
        "span_id": null, "sampled": null,
        "connection": null, "method": "GET", "route": null, "name": null, "path": "/users/1",
        "path_truncated": false, "peer": "192.0.2.7:4711", "phase": "body", "age_ms": 1,
        "time_to_head_ms": null, "duration_ms": null, "ended_ms_ago": null, "bytes_sent": 0,
        "outcome": null, "class": null, "status": 200, "grpc_status": null, "reason": null,
        "error": null, "metadata": {"tenant": "7"}, "metadata_dropped": 0,
    });
    assert_eq!(answer, json!({"requests": [fields], "in_flight": 1}));

    drop(response);
    advance(Duration::from_secs(2)).await;
    for (field, value) in [
        ("time_to_head_ms", json!(0.0)),
        ("duration_ms", json!(1.5)),
        ("ended_ms_ago", json!(2_000.0)),
        ("outcome", json!("cancelled_during_body")),
        ("class", json!("cancelled")),
    ] {
        fields[field] = value;
    }
    let answer = json(&service, "/requests/history").await;
    assert_eq!(answer, json!({"requests": [fields]}));
}

#[tokio::test]
async fn without_permission_nothing_of_the_client_is_shown() {
    let tracker = RequestTracker::builder()
        .peer(|_| "192.0.2.7:4711".parse().ok())
        .build()
        .unwrap();
    let begin = || {
        let mut request = get("/secret-path");
        let id = HeaderValue::from_static("secret-id");
        request.headers_mut().insert("x-request-id", id);
        handle(&tracker, request, || {
            let handle = RequestHandle::current().unwrap();
            handle.annotate("secret-key", "secret-value");
            handle.fail("secret-reason");
            Response::new(ScriptedBody::new().error("secret-error"))
        })
    };
    let _open = begin();
    drop(begin());
    let service = tracker.service();
    for uri in ["/requests", "/requests/history", "/requests/stats"] {
        let (_, body) = ask(&service, Method::GET, uri).await;
        let text = String::from_utf8(body).unwrap();
        assert!(
            !text.contains("secret") && !text.contains("192.0.2.7"),
            "{text}"
        );
    }
    let listed = &json(&service, "/requests").await["requests"][0];
    assert_eq!(listed["method"], "GET");
    assert_eq!(listed["path"], Value::Null);
    assert!(listed["age_ms"].is_u64() && listed["id"].is_u64());
}

#[tokio::test]
async fn details_can_depend_on_who_asks() {
    let tracker = RequestTracker::new();
    let _open = open(&tracker, "/secret");
    let service = tracker
        .service()
        .details_if(|parts| parts.headers.contains_key(header::AUTHORIZATION));
    for authorized in [false, true] {
        let mut request = Request::builder().uri("/requests");
        if authorized {
            request = request.header(header::AUTHORIZATION, "Bearer token");
        }
        let Ok(response) = service.clone().oneshot(request.body(()).unwrap()).await;
        let Ok(body) = response.into_body().collect().await;
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        assert_eq!(text.contains("/secret"), authorized);
    }
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let tracker = RequestTracker::new();
    let mut request = get("/\"'{}%00\u{202e}");
    let id = HeaderValue::from_bytes(b"\t\"\\</script>\xff\xfe").unwrap();
    request.headers_mut().insert("x-request-id", id);
    let _open = handle(&tracker, request, || {
        RequestHandle::current()
            .unwrap()
            .annotate("\n\"key\u{0}", "\u{1b}[31m\r\n\"");
        Response::new(ScriptedBody::new().stalled())
    });
    let mut long = get(&format!("/{}", "ü".repeat(200)));
    let id = HeaderValue::from_bytes(&[b'i'; 5_000]).unwrap();
    long.headers_mut().insert("x-request-id", id);
    let _long = answer(&tracker, long, Response::new(ScriptedBody::new().stalled()));

    let (_, body) = ask(&all(&tracker), Method::GET, "/requests").await;
    let raw = String::from_utf8(body).unwrap();
    // Within the line that the answer is, no character controls anything.
    assert!(!raw.trim_end().chars().any(|each| each.is_ascii_control()));
    let answer: Value = serde_json::from_str(&raw).unwrap();
    let (hostile, long) = (&answer["requests"][0], &answer["requests"][1]);
    assert_eq!(hostile["request_id"], "\t\"\\</script>\u{fffd}\u{fffd}");
    assert_eq!(hostile["path"], "/\"'{}%00\u{202e}");
    assert_eq!(hostile["metadata"]["\n\"key\u{0}"], "\u{1b}[31m\r\n\"");
    assert_eq!(long["request_id"].as_str().unwrap().len(), 128);
    assert_eq!(long["path"].as_str().unwrap().len(), 63);
    assert_eq!(long["path_truncated"], true);
}

#[tokio::test(start_paused = true)]
async fn pages_are_in_step_when_requests_end_in_between() {
    let tracker = RequestTracker::new();
    let mut running = Vec::new();
    for n in 0..25 {
        running.push(Some(open(&tracker, &format!("/{n}"))));
        if n % 3 == 0 {
            advance(Duration::from_millis(1)).await;
        }
    }
    let service = all(&tracker);
    let mut uri = "/requests?limit=10".to_owned();
    let mut listed = Vec::new();
    for page in 0..3 {
        let answer = json(&service, &uri).await;
        let paths = answer["requests"].as_array().unwrap().iter();
        listed.extend(paths.map(|one| one["path"].as_str().unwrap().to_owned()));
        assert_eq!(answer["in_flight"], 25 - page);
        match answer["next"].as_str() {
            Some(next) => uri = format!("/requests?limit=10&after={next}"),
            None => assert_eq!(page, 2),
        }
        // The very one that the page ended with is over now.
        if let Some(last) = running.get_mut(page * 10 + 9) {
            last.take();
        }
    }
    let expected: Vec<String> = (0..25).map(|n| format!("/{n}")).collect();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn the_history_is_filtered_by_outcome_class_and_route() {
    let tracker = RequestTracker::builder().max_history(10).build().unwrap();
    let _ = tracker
        .track("ingest", (), std::future::ready(Err::<(), _>("no")))
        .await;
    drop(tracker.track("job", (), std::future::pending::<Result<(), ()>>()));
    drop(open(&tracker, "/cut"));
    exchange(&tracker, "/whole");
    let service = all(&tracker);
    let count = async |query: &str| {
        let uri = format!("/requests/history?{query}");
        json(&service, &uri).await["requests"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count("").await, 4);
    assert_eq!(count("limit=2").await, 2);
    assert_eq!(count("outcome=completed").await, 1);
    assert_eq!(count("outcome=success").await, 1);
    assert_eq!(count("outcome=failed").await, 1);
    assert_eq!(count("outcome=cancelled_during_body").await, 1);
    assert_eq!(
        count("outcome=cancelled").await,
        2,
        "a class, too: all that were"
    );
    assert_eq!(count("route=ingest").await, 1);
    assert_eq!(count("route=%7Bunmatched%7D&outcome=success").await, 1);
    assert_eq!(count("route=%2Fcut").await, 0, "a path is no route");

    // After a burst of successes the failed one is still found, and still once.
    assert_eq!(count("outcome=server_error").await, 1);
    for _ in 0..100 {
        exchange(&tracker, "/whole");
    }
    assert_eq!(count("outcome=failed").await, 1);
}

#[tokio::test(start_paused = true)]
async fn stats_have_these_fields() {
    let tracker = RequestTracker::new();
    exchange(&tracker, "/");
    let _open = open(&tracker, "/");
    advance(Duration::from_secs(1)).await;
    assert_eq!(
        json(&all(&tracker), "/requests/stats").await,
        json!({
            "in_flight": 1,
            "oldest_ms": 1_000.0,
            "rates": {"1s": 1.0, "10s": 0.1, "60s": 1.0 / 60.0},
            "outcomes": {
                "completed": 1, "failed": 0, "timed_out": 0, "body_failed": 0,
                "cancelled_before_head": 0, "cancelled_during_body": 0, "cancelled": 0,
                "panicked": 0, "upgraded": 0,
            },
            "classes": {
                "success": 1, "client_error": 0, "server_error": 0, "timeout": 0, "cancelled": 0,
            },
            "routes": [{
                "route": "{unmatched}", "kind": "request", "total": 1,
                "classes": {
                    "success": 1, "client_error": 0, "server_error": 0, "timeout": 0,
                    "cancelled": 0,
                },
                "p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0,
            }],
        })
    );
}
