//! The last lines, by request id.

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_ops_logs::{Format, Logs};
use tower_ops_observe::RequestIdScope;

use super::sink::{Log, json, lines};

fn in_request(id: &'static str, step: impl FnOnce()) {
    RequestIdScope::new(Some(HeaderValue::from_static(id))).enter(step);
}

async fn get(log: &Log, uri: &str) -> Response<String> {
    let service = log.logs.ring_service().unwrap();
    let response = service
        .oneshot(Request::get(uri).body(()).unwrap())
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(parts, String::from_utf8(body.to_vec()).unwrap())
}

async fn messages(log: &Log, uri: &str) -> Vec<String> {
    let response = get(log, uri).await;
    assert_eq!(response.status(), 200, "{}", response.body());
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let lines = lines(response.body().as_bytes());
    lines
        .iter()
        .map(|line| json(line)["message"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_lines_of_a_request_are_found() {
    let log = Log::new(Logs::builder().format(Format::Json).ring(64 * 1024));
    tracing::info!("outside");
    in_request("a", || tracing::info!("a 1"));
    in_request("ab", || tracing::info!("ab 1"));
    in_request("a", || tracing::warn!("a 2"));
    in_request("\"q\\\"", || tracing::info!("quoted"));
    assert_eq!(messages(&log, "/logs?request_id=a").await, ["a 1", "a 2"]);
    assert_eq!(messages(&log, "/logs/?request_id=a&limit=1").await, ["a 2"]);
    assert_eq!(
        messages(&log, "/logs?request_id=%22q%5C%22").await,
        ["quoted"]
    );
    assert_eq!(messages(&log, "/logs?request_id=").await, [""; 0]);
    assert_eq!(messages(&log, "/logs?request_id=nobody").await, [""; 0]);
    assert_eq!(messages(&log, "/logs?limit=2").await, ["a 2", "quoted"]);
    assert_eq!(get(&log, "/logs?limit=0").await.status(), 400);
    assert_eq!(get(&log, "/logs?id=a").await.status(), 400);
    assert_eq!(get(&log, "/other").await.status(), 404);
}

#[tokio::test]
async fn old_lines_go_and_colours_are_left_out() {
    let log = Log::new(Logs::builder().color(true).ring(64 * 1024));
    for number in 0..1000 {
        in_request("a", || {
            tracing::info!(number, padding = "x".repeat(100), "line")
        });
        if number % 100 == 0 {
            log.lines();
        }
    }
    log.lines();
    let response = get(&log, "/logs?request_id=a&limit=1000").await;
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    let lines = lines(response.body().as_bytes());
    assert!((100..400).contains(&lines.len()), "{}", lines.len());
    let last = lines.last().unwrap();
    let (_, rest) = last.split_once("Z ").unwrap();
    let padding = "x".repeat(100);
    let expected = format!(" INFO logs::ring: line number=999 padding={padding} request_id=a");
    assert_eq!(rest, expected);
}

#[tokio::test]
async fn lines_are_for_those_who_may_see_them() {
    let log = Log::new(Logs::builder().ring(64 * 1024));
    let service = log.logs.ring_service().unwrap();
    let service = service.allow_if(|parts| parts.headers.contains_key("authorization"));
    let status = async |request: http::request::Builder| {
        let answer = service.clone().oneshot(request.body(()).unwrap());
        answer.await.unwrap().status()
    };
    assert_eq!(status(Request::get("/logs")).await, 403);
    assert_eq!(
        status(Request::get("/logs").header("authorization", "x")).await,
        200
    );
}

#[test]
fn there_is_none_unless_it_is_wanted() {
    let log = Log::new(Logs::builder());
    assert!(log.logs.ring_service().is_none());
}
