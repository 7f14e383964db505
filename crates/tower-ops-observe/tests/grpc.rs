//! What is known of a gRPC call: its status, and its method as the route.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::{pending, ready};

use http::{HeaderMap, Method, Request, Response};
use tower::{Layer, Service, service_fn};
use tower_ops_observe::{Class, GrpcCode, ObserveLayer, Outcome};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
#[path = "support/record.rs"]
mod record;
use drive::{Watched, take};
use record::{Ended, Recorder};

type Answer = Result<Response<ScriptedBody>, Infallible>;

const GRPC: &str = "application/grpc+proto";

fn call(path: &str) -> Request<()> {
    let request = Request::post(path).header("content-type", GRPC);
    request.body(()).unwrap()
}

fn status(code: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", code.parse().unwrap());
    headers
}

/// An answer as of a method: a head without a status.
fn streaming(body: ScriptedBody) -> Response<ScriptedBody> {
    let response = Response::builder().header("content-type", GRPC);
    response.body(body).unwrap()
}

/// An answer of a head alone, with its status.
fn trailers_only(code: &str) -> Response<ScriptedBody> {
    let mut response = streaming(ScriptedBody::new().end_stream_flag(true));
    response.headers_mut().extend(status(code));
    response
}

/// An exchange of a gRPC request up to its head.
async fn answered(recorder: &Recorder, response: Response<ScriptedBody>) -> Watched {
    let layer = ObserveLayer::new(recorder.clone());
    let response = drive::answer(&layer, call("/a.B/C"), response).await;
    response.into_body()
}

/// How an exchange ended whose body was read to its end.
async fn ended(response: Response<ScriptedBody>) -> Ended {
    let recorder = Recorder::new();
    let mut body = answered(&recorder, response).await;
    let _ = record::drain(&mut body);
    let ended = recorder.only();
    drop(body);
    assert_eq!(recorder.only(), ended);
    ended
}

// The status.

#[tokio::test(start_paused = true)]
async fn a_status_in_the_head_alone_counts() {
    let recorder = Recorder::new();
    let body = answered(&recorder, trailers_only("5")).await;
    let ended = recorder.only();
    assert_eq!(ended.outcome, Outcome::Completed);
    assert_eq!(ended.grpc, Some(GrpcCode::NotFound));
    assert_eq!(ended.class, Class::ClientError);
    assert!(ended.is_grpc);
    drop(body);
}

#[tokio::test(start_paused = true)]
async fn a_status_in_the_trailers_counts() {
    let body = ScriptedBody::new().data("abc").trailers(status("0"));
    let ended = ended(streaming(body)).await;
    assert_eq!(ended.outcome, Outcome::Completed);
    assert_eq!(ended.grpc, Some(GrpcCode::Ok));
    assert_eq!(ended.class, Class::Success);
    assert_eq!(ended.bytes_sent, 3);
}

#[tokio::test(start_paused = true)]
async fn the_class_is_that_of_the_grpc_status() {
    for (code, class) in [
        ("1", Class::Cancelled),
        ("3", Class::ClientError),
        ("4", Class::Timeout),
        ("8", Class::ClientError),
        ("13", Class::ServerError),
        ("14", Class::ServerError),
    ] {
        let body = ScriptedBody::new().trailers(status(code));
        assert_eq!(ended(streaming(body)).await.class, class, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_override_the_head() {
    let mut response = streaming(ScriptedBody::new().data("abc").trailers(status("13")));
    response.headers_mut().extend(status("0"));
    assert_eq!(ended(response).await.grpc, Some(GrpcCode::Internal));
}

#[tokio::test(start_paused = true)]
async fn trailers_without_a_status_leave_that_of_the_head() {
    let mut response = streaming(ScriptedBody::new().trailers(HeaderMap::new()));
    response.headers_mut().extend(status("5"));
    assert_eq!(ended(response).await.grpc, Some(GrpcCode::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_missing_status_is_unknown() {
    for body in [
        ScriptedBody::new(),
        ScriptedBody::new().data("abc"),
        ScriptedBody::new().trailers(HeaderMap::new()),
        ScriptedBody::new().end_stream_flag(true),
    ] {
        let ended = ended(streaming(body)).await;
        assert_eq!(ended.outcome, Outcome::Completed);
        assert_eq!(ended.grpc, Some(GrpcCode::Unknown));
        assert_eq!(ended.class, Class::ServerError);
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_no_code_is_unknown() {
    for odd in ["17", "00", "-1", "OK", ""] {
        let body = ScriptedBody::new().trailers(status(odd));
        let code = Some(GrpcCode::Unknown);
        assert_eq!(ended(streaming(body)).await.grpc, code, "{odd:?}");
        assert_eq!(ended(trailers_only(odd)).await.grpc, code, "{odd:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cut_before_its_status_has_none() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().data("abc").trailers(status("0"));
    let mut body = answered(&recorder, streaming(script)).await;
    take(&mut body, 1).await;
    drop(body);
    let ended = recorder.only();
    assert_eq!(ended.outcome, Outcome::CancelledDuringBody);
    assert_eq!(ended.grpc, None);
    assert_eq!(ended.class, Class::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_body_fails_before_its_status_has_none() {
    let body = ScriptedBody::new().data("abc").error("lost");
    let ended = ended(streaming(body)).await;
    assert_eq!(ended.outcome, Outcome::BodyFailed);
    assert_eq!(ended.grpc, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_grpc_has_no_grpc_status() {
    let recorder = Recorder::new();
    let body = ScriptedBody::new().data("abc").trailers(status("0"));
    let mut response = Response::new(body);
    response.headers_mut().extend(status("5"));
    let mut body = answered(&recorder, response).await;
    record::drain(&mut body).unwrap();
    let ended = recorder.only();
    assert_eq!(ended.grpc, None);
    assert!(!ended.is_grpc);
    assert_eq!(ended.route, None);
    assert_eq!(ended.class, Class::Success);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_grpc_has_no_grpc_status() {
    let other_type = Request::post("/a.B/C").header("content-type", "application/json");
    let other_method = Request::put("/a.B/C").header("content-type", GRPC);
    for request in [other_type, other_method] {
        let recorder = Recorder::new();
        let layer = ObserveLayer::new(recorder.clone());
        let request = request.body(()).unwrap();
        drop(drive::answer(&layer, request, trailers_only("5")).await);
        let ended = recorder.only();
        assert_eq!(ended.grpc, None);
        assert!(!ended.is_grpc);
        assert_eq!(ended.route, None);
    }
}

// The method.

/// Sends a call through a layer, reads the answer, and returns the route of it.
async fn route(
    recorder: &Recorder,
    layer: &ObserveLayer<Recorder>,
    path: &str,
    response: Response<ScriptedBody>,
) -> Option<String> {
    let mut body = drive::answer(layer, call(path), response).await.into_body();
    let _ = record::drain(&mut body);
    last_route(recorder)
}

fn last_route(recorder: &Recorder) -> Option<String> {
    let ended = recorder.endings().pop().unwrap();
    assert_eq!(ended.request, recorder.endings().len());
    ended.route
}

/// Sends a call through a layer and drops it before there is a head.
fn cut_route(
    recorder: &Recorder,
    layer: &ObserveLayer<Recorder>,
    request: Request<()>,
) -> Option<String> {
    let mut service = layer.layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let mut future = service.call(request);
    assert!(record::poll(&mut future).is_pending());
    drop(future);
    last_route(recorder)
}

fn ok() -> Response<ScriptedBody> {
    streaming(ScriptedBody::new().data("abc").trailers(status("0")))
}

#[tokio::test(start_paused = true)]
async fn a_method_is_learned_when_it_first_answers() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let cut = || cut_route(&recorder, &layer, call("/a.B/C"));
    assert_eq!(cut().as_deref(), Some("_OTHER"));
    let answered = route(&recorder, &layer, "/a.B/C", ok()).await;
    assert_eq!(answered.as_deref(), Some("a.B/C"));
    assert_eq!(cut().as_deref(), Some("a.B/C"));
    // By one layer for all the services that it makes, and by no other.
    let other = ObserveLayer::new(recorder.clone());
    let elsewhere = cut_route(&recorder, &other, call("/a.B/C"));
    assert_eq!(elsewhere.as_deref(), Some("_OTHER"));
}

#[tokio::test(start_paused = true)]
async fn a_known_method_stays_known_when_it_answers_unimplemented() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    for (answer, known) in [(trailers_only("12"), "_OTHER"), (ok(), "a.B/C")] {
        let answered = route(&recorder, &layer, "/a.B/C", answer).await;
        assert_eq!(answered.as_deref(), Some(known));
    }
    let answered = route(&recorder, &layer, "/a.B/C", trailers_only("12")).await;
    assert_eq!(answered.as_deref(), Some("a.B/C"));
}

#[tokio::test(start_paused = true)]
async fn unimplemented_in_the_trailers_is_an_answer_of_a_method() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let answer = streaming(ScriptedBody::new().trailers(status("12")));
    let answered = route(&recorder, &layer, "/a.B/C", answer).await;
    assert_eq!(answered.as_deref(), Some("a.B/C"));
}

#[tokio::test(start_paused = true)]
async fn a_method_that_was_named_is_known_at_once() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone()).with_grpc_methods(["a.B/C", "a.B/D"]);
    for path in ["/a.B/C", "/a.B/D"] {
        let cut = cut_route(&recorder, &layer, call(path));
        assert_eq!(cut.as_deref(), path.strip_prefix('/'));
    }
    let cut = cut_route(&recorder, &layer, call("/a.B/E"));
    assert_eq!(cut.as_deref(), Some("_OTHER"));
    // The name alone makes no gRPC call.
    let request = Request::builder().method(Method::POST).uri("/a.B/C");
    let cut = cut_route(&recorder, &layer, request.body(()).unwrap());
    assert_eq!(cut, None);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_no_method_is_other() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    for path in ["/", "/a", "/a/", "/a/b/c", "/a//"] {
        let answered = route(&recorder, &layer, path, ok()).await;
        assert_eq!(answered.as_deref(), Some("_OTHER"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn methods_that_nobody_registered_are_other_however_many() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    for n in 0..5_000 {
        let path = format!("/a.B/Guess{n}");
        drop(drive::answer(&layer, call(&path), trailers_only("12")).await);
    }
    for ended in recorder.endings() {
        assert_eq!(ended.route.as_deref(), Some("_OTHER"));
    }
    // They took no room either.
    let answered = route(&recorder, &layer, "/a.B/C", ok()).await;
    assert_eq!(answered.as_deref(), Some("a.B/C"));
}

#[tokio::test(start_paused = true)]
async fn at_most_1024_methods_are_learned() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    for n in 0..1_100 {
        let path = format!("/a.B/M{n}");
        let expected = if n < 1_024 { &path[1..] } else { "_OTHER" };
        let answered = route(&recorder, &layer, &path, ok()).await;
        assert_eq!(answered.as_deref(), Some(expected));
    }
    let cut = cut_route(&recorder, &layer, call("/a.B/M1023"));
    assert_eq!(cut.as_deref(), Some("a.B/M1023"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_without_a_head_is_other_until_it_is_known() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        ready(Err::<Response<ScriptedBody>, _>("broken"))
    }));
    assert!(service.call(call("/a.B/C")).await.is_err());
    let ended = recorder.only();
    assert_eq!(ended.route.as_deref(), Some("_OTHER"));
    assert_eq!(ended.grpc, None);
    assert!(ended.is_grpc, "it is what the request said");
}

#[tokio::test(start_paused = true)]
async fn an_outgoing_call_has_its_status_and_method_too() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::outgoing(recorder.clone());
    let answered = route(&recorder, &layer, "/a.B/C", ok()).await;
    assert_eq!(answered.as_deref(), Some("a.B/C"));
    assert_eq!(recorder.only().grpc, Some(GrpcCode::Ok));
}

/// A guard around the router answers before any method is looked up; a client that it turns away
/// must not write its paths into the set, which it would fill for good.
#[tokio::test(start_paused = true)]
async fn a_refusal_in_the_head_teaches_no_method() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    for n in 0..1_024 {
        let path = format!("/a.B/Guess{n}");
        let answered = route(&recorder, &layer, &path, trailers_only("16")).await;
        assert_eq!(answered.as_deref(), Some("_OTHER"));
    }
    let answered = route(&recorder, &layer, "/a.B/C", ok()).await;
    assert_eq!(answered.as_deref(), Some("a.B/C"));
}

/// A timeout or a panic catcher around the method answers in plain HTTP.
#[tokio::test(start_paused = true)]
async fn a_known_method_that_is_answered_in_plain_http_stays_a_call() {
    for (status, code) in [
        (504, GrpcCode::Unavailable),
        (500, GrpcCode::Unknown),
        (401, GrpcCode::Unauthenticated),
    ] {
        let recorder = Recorder::new();
        let layer = ObserveLayer::new(recorder.clone()).with_grpc_methods(["/a.B/C"]);
        let answer = Response::builder().status(status);
        let answer = answer.body(ScriptedBody::new().end_stream_flag(true));
        drop(drive::answer(&layer, call("/a.B/C"), answer.unwrap()).await);

        let ended = recorder.only();
        assert_eq!(ended.route.as_deref(), Some("a.B/C"));
        assert_eq!(ended.grpc, Some(code), "{status}");
    }
}

/// How one of a seen and one of an unseen method end, answered by this.
async fn seen_and_unseen(
    response: impl Fn() -> Response<ScriptedBody>,
    content_type: &str,
) -> [Ended; 2] {
    let seen = ObserveLayer::new(Recorder::new()).with_grpc_methods(["/a.B/C"]);
    let unseen = ObserveLayer::new(Recorder::new());
    for layer in [&seen, &unseen] {
        let call = Request::post("/a.B/C").header("content-type", content_type);
        drop(drive::answer(layer, call.body(()).unwrap(), response()).await);
    }
    [seen.observer().only(), unseen.observer().only()]
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_plain_http_is_classed_alike_whether_the_method_was_seen_or_not() {
    for content_type in [GRPC, "application/grpc-web", "application/grpc-web-text"] {
        for status in [400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504] {
            let answer = || {
                let response = Response::builder().status(status);
                let body = ScriptedBody::new().end_stream_flag(true);
                response.body(body).unwrap()
            };
            let [seen, unseen] = seen_and_unseen(answer, content_type).await;
            assert_eq!(seen.class, unseen.class, "{status}");
            assert!(seen.is_grpc);
            assert_eq!(seen.route.as_deref(), Some("a.B/C"));
            if status >= 500 {
                assert!(unseen.is_grpc, "{status}");
                assert_eq!(unseen.route.as_deref(), Some("_OTHER"));
                assert_eq!(seen.grpc, unseen.grpc, "{status}");
                assert_eq!(seen.class, Class::ServerError);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_place_of_a_method_is_classed_alike_whether_it_was_seen_or_not() {
    for code in GrpcCode::ALL {
        let number = (code as u8).to_string();
        let [seen, unseen] = seen_and_unseen(|| trailers_only(&number), GRPC).await;
        assert_eq!(
            (seen.class, seen.grpc),
            (unseen.class, unseen.grpc),
            "{code}"
        );
    }
}
