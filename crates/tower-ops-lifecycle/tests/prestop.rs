//! The endpoint that begins a shutdown: by which requests, and when it answers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;
use tower_ops_lifecycle::{AnswerBody, Phase, PreStop, Trigger};

use self::timed::{ms, ready};

#[path = "support/timed.rs"]
mod timed;

async fn ask(service: PreStop, method: Method) -> Response<AnswerBody> {
    let request = Request::builder().method(method).body(()).unwrap();
    service.oneshot(request).await.unwrap()
}

async fn text(response: Response<AnswerBody>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn get_and_post_trigger_and_are_answered_when_the_pre_drain_is_over() {
    for method in [Method::GET, Method::POST] {
        let lifecycle = ready();
        lifecycle.on_drain("work", async |_| sleep(ms(1_000)).await);
        let stopped = lifecycle.run();
        let began = Instant::now();
        let response = ask(lifecycle.prestop(), method).await;
        assert_eq!(began.elapsed(), ms(5_000));
        assert_eq!(lifecycle.phase(), Phase::Draining, "SIGTERM comes now");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let length = response.headers()[CONTENT_LENGTH].clone();
        let body = text(response).await;
        assert_eq!(body, "{\"phase\":\"draining\",\"trigger\":\"prestop\"}\n");
        assert_eq!(length, body.len().to_string());
        lifecycle.trigger(Trigger::Terminate);
        let report = stopped.await;
        assert_eq!(report.total(), ms(6_000));
        assert_eq!(report.later_triggers(), [(Trigger::Terminate, ms(5_000))]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_else_triggers() {
    let lifecycle = ready();
    for method in [
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::TRACE,
        Method::from_bytes(b"STOP").unwrap(),
    ] {
        let response = ask(lifecycle.prestop(), method.clone()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "GET, POST, OPTIONS");
        let body = text(response).await;
        assert_eq!(body.is_empty(), method == Method::HEAD, "{method}");
    }
    // What balancers check with: the status of GET, and nothing of its effect.
    let response = ask(lifecycle.prestop(), Method::OPTIONS).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[ALLOW], "GET, POST, OPTIONS");
    assert_eq!(text(response).await, "");
    assert_eq!(lifecycle.phase(), Phase::Ready);
    assert_eq!(lifecycle.triggered_by(), None);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_comes_twice_or_late_is_answered_in_the_same_moment() {
    let lifecycle = ready();
    lifecycle.on_drain("work", async |_| sleep(ms(1_000)).await);
    let stopped = lifecycle.run();
    let began = Instant::now();
    let (_, (), ()) = tokio::join!(
        ask(lifecycle.prestop(), Method::GET),
        async {
            sleep(ms(2_000)).await;
            ask(lifecycle.prestop(), Method::GET).await;
            assert_eq!(began.elapsed(), ms(5_000));
        },
        async {
            sleep(ms(5_500)).await;
            ask(lifecycle.prestop(), Method::GET).await;
            assert_eq!(began.elapsed(), ms(5_500));
        },
    );
    assert_eq!(stopped.await.total(), ms(6_000));
    let stopped = text(ask(lifecycle.prestop(), Method::GET).await).await;
    assert_eq!(stopped, "{\"phase\":\"stopped\",\"trigger\":\"prestop\"}\n");
}

#[tokio::test(start_paused = true)]
async fn it_can_answer_at_once() {
    let lifecycle = ready();
    let began = Instant::now();
    lifecycle.shutdown();
    let response = ask(lifecycle.prestop().without_waiting(), Method::GET).await;
    assert_eq!(began.elapsed(), ms(0));
    assert_eq!(
        text(response).await,
        "{\"phase\":\"pre_draining\",\"trigger\":\"a call\"}\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_has_triggered_all_the_same() {
    use tower_service::Service as _;

    let lifecycle = ready();
    let mut service = lifecycle.prestop();
    drop(service.call(Request::new(())));
    assert_eq!(lifecycle.phase(), Phase::PreDraining);
}

#[tokio::test(start_paused = true)]
async fn it_answers_even_if_nobody_carries_the_shutdown_out() {
    let lifecycle = ready();
    let began = Instant::now();
    let response = ask(lifecycle.prestop(), Method::GET).await;
    assert_eq!(began.elapsed(), ms(6_000));
    assert!(text(response).await.contains("pre_draining"));
}
