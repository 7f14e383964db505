//! How an exchange ends that nothing goes wrong with but a cut: one test for each way.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::pending;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tokio::time::advance;
use tower::{Layer, Service, service_fn};
use tower_ops_observe::{Class, KnownMethod, ObserveLayer, Outcome};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
#[path = "support/record.rs"]
mod record;
use drive::{STEP, TO_HEAD, after_head, before_head, body_of, cancelled, take};
use record::{Ended, Recorder, poll};

type Answer = Result<Response<ScriptedBody>, Infallible>;

fn completed(bytes_sent: u64, steps: u32) -> Ended {
    after_head(Outcome::Completed, Class::Success, bytes_sent, steps)
}

/// How an exchange ended with its head, by a request of this method and an answer of this status;
/// its body, of unknown length, is dropped later and unpolled, as transports do.
async fn end_of_head(method: Method, status: StatusCode) -> Ended {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let request = Request::builder()
        .method(method)
        .header(header::UPGRADE, "a");
    let request = request.body(()).unwrap();
    let body = ScriptedBody::new().data("abc");
    let response = Response::builder().status(status).body(body).unwrap();
    let response = drive::answer(&layer, request, response).await;
    let ended = recorder.only();
    advance(STEP).await;
    drop(response);
    assert_eq!(recorder.only(), ended);
    ended
}

// The body comes to its end.

#[tokio::test(start_paused = true)]
async fn a_body_polled_to_none_completes() {
    let recorder = Recorder::new();
    let mut body = body_of(&recorder, ScriptedBody::new().data("ab").data("c")).await;
    assert!(take(&mut body, 2).await.is_some());
    assert!(recorder.endings().is_empty());
    assert!(take(&mut body, 1).await.is_none());
    assert_eq!(recorder.only(), completed(3, 3));
    assert_eq!(recorder.data(), [2, 1]);

    assert!(take(&mut body, 1).await.is_none());
    drop(body);
    assert_eq!(recorder.only(), completed(3, 3));
}

#[tokio::test(start_paused = true)]
async fn pending_polls_are_no_end() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().pending().data("ab").pending();
    let mut body = body_of(&recorder, script).await;
    take(&mut body, 3).await;
    assert!(recorder.endings().is_empty());
    take(&mut body, 1).await;
    assert_eq!(recorder.only(), completed(2, 4));
}

#[tokio::test(start_paused = true)]
async fn the_last_data_of_a_body_with_an_end_of_stream_flag_completes() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().data("ab").data("c");
    let mut body = body_of(&recorder, script.end_stream_flag(true)).await;
    take(&mut body, 1).await;
    assert!(recorder.endings().is_empty());
    take(&mut body, 1).await;
    assert_eq!(recorder.only(), completed(3, 2));

    advance(STEP).await;
    drop(body);
    assert_eq!(recorder.only(), completed(3, 2));
}

#[tokio::test(start_paused = true)]
async fn trailers_complete() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().data("ab").trailers(HeaderMap::new());
    let mut body = body_of(&recorder, script).await;
    take(&mut body, 2).await;
    assert_eq!(recorder.only(), completed(2, 2));

    assert!(take(&mut body, 1).await.is_none());
    drop(body);
    assert_eq!(recorder.only(), completed(2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_after_all_bytes_of_its_exact_size_completes() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().data("ab").data("c").exact(3);
    let mut body = body_of(&recorder, script).await;
    take(&mut body, 2).await;
    assert!(recorder.endings().is_empty());
    drop(body);
    assert_eq!(recorder.only(), completed(3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_one_byte_before_its_exact_size_is_cancelled() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().data("ab").data("c").exact(4);
    let mut body = body_of(&recorder, script).await;
    take(&mut body, 2).await;
    drop(body);
    assert_eq!(recorder.only(), cancelled(3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_least_size_announces_nothing() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().data("ab").data("c").at_least(2);
    let mut body = body_of(&recorder, script).await;
    take(&mut body, 1).await;
    drop(body);
    assert_eq!(recorder.only(), cancelled(2, 1));
}

/// How an exchange ends if its body is dropped after "abc" and the head said this length.
async fn end_by_content_length(length: &'static str) -> Ended {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let response = Response::builder()
        .header(header::CONTENT_LENGTH, length)
        .body(ScriptedBody::new().data("ab").data("c"));
    let response = drive::answer(&layer, Request::new(()), response.unwrap()).await;
    let mut body = response.into_body();
    take(&mut body, 2).await;
    drop(body);
    recorder.only()
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_after_all_bytes_of_its_content_length_completes() {
    assert_eq!(end_by_content_length("3").await, completed(3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_before_all_bytes_of_its_content_length_is_cancelled() {
    assert_eq!(end_by_content_length("4").await, cancelled(3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_content_length_that_is_no_number_breaks_the_response() {
    for odd in ["", "three", "-1", "+3", "3, 3", "99999999999999999999"] {
        let ended = end_by_content_length(odd).await;
        assert_eq!(ended.outcome, Outcome::BodyFailed, "{odd:?}");
        assert_eq!(ended.class, Class::ServerError, "{odd:?}");
    }
}

// The head is all there is.

#[tokio::test(start_paused = true)]
async fn an_answer_to_head_completes_with_its_head() {
    let expected = Ended {
        method: KnownMethod::Head,
        ..completed(0, 0)
    };
    assert_eq!(end_of_head(Method::HEAD, StatusCode::OK).await, expected);
}

#[tokio::test(start_paused = true)]
async fn no_content_completes_with_its_head() {
    let status = StatusCode::NO_CONTENT;
    let expected = Ended {
        status: Some(status),
        ..completed(0, 0)
    };
    assert_eq!(end_of_head(Method::GET, status).await, expected);
}

#[tokio::test(start_paused = true)]
async fn not_modified_completes_with_its_head() {
    let status = StatusCode::NOT_MODIFIED;
    let expected = Ended {
        status: Some(status),
        ..completed(0, 0)
    };
    assert_eq!(end_of_head(Method::GET, status).await, expected);
}

#[tokio::test(start_paused = true)]
async fn switching_protocols_is_an_upgrade() {
    let status = StatusCode::SWITCHING_PROTOCOLS;
    let expected = Ended {
        status: Some(status),
        ..after_head(Outcome::Upgraded, Class::Success, 0, 0)
    };
    assert_eq!(end_of_head(Method::GET, status).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_successful_connect_is_an_upgrade() {
    for status in [StatusCode::OK, StatusCode::NO_CONTENT] {
        let expected = Ended {
            status: Some(status),
            method: KnownMethod::Connect,
            ..after_head(Outcome::Upgraded, Class::Success, 0, 0)
        };
        assert_eq!(end_of_head(Method::CONNECT, status).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_connect_has_a_body_to_be_sent() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let request = Request::connect("a:1").body(()).unwrap();
    let response = Response::builder().status(403);
    let response = response.body(ScriptedBody::new().data("no")).unwrap();
    let mut body = drive::answer(&layer, request, response).await.into_body();
    assert!(recorder.endings().is_empty());
    take(&mut body, 2).await;
    let expected = Ended {
        status: Some(StatusCode::FORBIDDEN),
        method: KnownMethod::Connect,
        ..after_head(Outcome::Completed, Class::ClientError, 2, 2)
    };
    assert_eq!(recorder.only(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_with_its_flag_up_completes_with_its_head() {
    let recorder = Recorder::new();
    let body = body_of(&recorder, ScriptedBody::new().end_stream_flag(true)).await;
    assert_eq!(recorder.only(), completed(0, 0));
    drop(body);
    assert_eq!(recorder.only(), completed(0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_without_a_flag_completes_by_its_size() {
    let recorder = Recorder::new();
    drop(body_of(&recorder, ScriptedBody::new().exact(0)).await);
    assert_eq!(recorder.only(), completed(0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_class_of_a_completed_exchange_is_that_of_its_status() {
    for (status, class) in [
        (302, Class::Success),
        (404, Class::ClientError),
        (408, Class::Timeout),
        (500, Class::ServerError),
        (504, Class::Timeout),
    ] {
        let recorder = Recorder::new();
        let layer = ObserveLayer::new(recorder.clone());
        let body = ScriptedBody::new().end_stream_flag(true);
        let response = Response::builder().status(status).body(body).unwrap();
        drop(drive::answer(&layer, Request::new(()), response).await);
        assert_eq!(recorder.only().class, class, "{status}");
        assert_eq!(recorder.only().outcome, Outcome::Completed);
    }
}

// Drops.

#[tokio::test(start_paused = true)]
async fn an_unpolled_future_that_is_dropped_is_cancelled() {
    let recorder = Recorder::new();
    let mut service =
        ObserveLayer::new(recorder.clone()).layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let future = service.call(Request::new(()));
    advance(TO_HEAD).await;
    drop(future);
    let outcome = Outcome::CancelledBeforeHead;
    let expected = before_head(outcome, Class::Cancelled, TO_HEAD);
    assert_eq!(recorder.only(), expected);
    assert_eq!(recorder.heads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_polled_future_that_is_dropped_is_cancelled() {
    let recorder = Recorder::new();
    let mut service =
        ObserveLayer::new(recorder.clone()).layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let mut future = service.call(Request::new(()));
    for _ in 0..2 {
        assert!(poll(&mut future).is_pending());
        advance(STEP).await;
    }
    drop(future);
    let outcome = Outcome::CancelledBeforeHead;
    let expected = before_head(outcome, Class::Cancelled, 2 * STEP);
    assert_eq!(recorder.only(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_unpolled_body_that_is_dropped_is_cancelled() {
    let recorder = Recorder::new();
    let body = body_of(&recorder, ScriptedBody::new().data("abc").exact(3)).await;
    advance(STEP).await;
    drop(body);
    assert_eq!(recorder.only(), cancelled(0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_half_read_body_that_is_dropped_is_cancelled() {
    let recorder = Recorder::new();
    let mut body = body_of(&recorder, ScriptedBody::new().data("ab").data("c")).await;
    take(&mut body, 2).await;
    drop(body);
    assert_eq!(recorder.only(), cancelled(3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_dropped_whole_is_cancelled_in_its_body() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let response = Response::builder()
        .status(500)
        .body(ScriptedBody::new().data("abc"));
    drop(drive::answer(&layer, Request::new(()), response.unwrap()).await);
    // The status is kept; the class is that of the cut.
    let expected = Ended {
        status: Some(StatusCode::INTERNAL_SERVER_ERROR),
        ..cancelled(0, 0)
    };
    assert_eq!(recorder.only(), expected);
}
