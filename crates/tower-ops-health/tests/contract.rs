//! What the probes promise, whoever calls them.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are tests, which clippy.toml exempts"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};
use tower_ops_health::{AnswerBody, Health, Probe, ProbeService, Probes};

const JSON_OK: &str = "{\"status\":\"ok\"}\n";
const JSON_DOWN: &str = "{\"status\":\"down\"}\n";

/// A response, its body read to the end.
struct Answer {
    head: http::response::Parts,
    body: String,
}

impl Answer {
    fn header(&self, name: &http::HeaderName) -> &str {
        let mut values = self.head.headers.get_all(name).iter();
        let value = values.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(values.next().is_none(), "{name} twice");
        value.to_str().unwrap()
    }

    fn length(&self) -> usize {
        self.header(&CONTENT_LENGTH).parse().unwrap()
    }

    fn is(&self, code: u16, body: &str) {
        assert_eq!((self.head.status.as_u16(), &*self.body), (code, body));
    }
}

async fn ask<S, B>(service: S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response<AnswerBody>, Error = Infallible>,
{
    let Ok(response) = service.oneshot(request).await;
    let (head, body) = response.into_parts();
    assert_eq!(body.is_end_stream(), body.size_hint().exact() == Some(0));
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        head,
        body: String::from_utf8(body.into()).unwrap(),
    }
}

fn request(method: Method, path: &str) -> Request<()> {
    let request = Request::builder().method(method).uri(path);
    request.body(()).unwrap()
}

fn get(path: &str) -> Request<()> {
    request(Method::GET, path)
}

/// Asks all three probes, each alone and through `Probes`, and expects the same of both.
async fn expect(health: &Health, live: bool, ready: bool, started: bool) {
    let expected = |good| {
        if good {
            (200, JSON_OK)
        } else {
            (503, JSON_DOWN)
        }
    };
    for (probe, good) in [
        (Probe::Liveness, live),
        (Probe::Readiness, ready),
        (Probe::Startup, started),
    ] {
        let (code, body) = expected(good);
        let alone = match probe {
            Probe::Liveness => ask(health.liveness(), get("/any")).await,
            Probe::Readiness => ask(health.readiness(), get("/any")).await,
            Probe::Startup => ask(health.startup(), get("/any")).await,
            _ => unreachable!("a probe without a test"),
        };
        alone.is(code, body);
        ask(health.probes(), get(probe.path())).await.is(code, body);
    }
    assert_eq!((health.is_ready(), health.is_started()), (ready, started));
}

#[tokio::test]
async fn a_process_that_drains_is_alive_and_not_ready_for_good() {
    let health = Health::new();
    health.mark_ready();
    health.mark_draining();
    for _ in 0..2 {
        let ready = health.readiness().oneshot(Request::new(())).await.unwrap();
        assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!health.is_ready() && health.is_started());
        let alive = health.liveness().oneshot(Request::new(())).await.unwrap();
        assert_eq!(alive.status(), StatusCode::OK);
        health.mark_ready();
    }
}

#[tokio::test]
async fn starts_live_and_nothing_else() {
    expect(&Health::new(), true, false, false).await;
    expect(&Health::default(), true, false, false).await;
}

#[tokio::test]
async fn readiness_flips_back_and_forth() {
    let health = Health::new();
    for _ in 0..3 {
        health.mark_ready();
        health.mark_ready();
        expect(&health, true, true, true).await;
        health.mark_not_ready();
        health.mark_not_ready();
        expect(&health, true, false, true).await;
    }
}

#[tokio::test]
async fn startup_latches() {
    let health = Health::new();
    health.mark_not_ready();
    expect(&health, true, false, false).await;
    health.mark_started();
    expect(&health, true, false, true).await;
    health.mark_not_ready();
    expect(&health, true, false, true).await;
    health.mark_ready();
    health.mark_started();
    expect(&health, true, true, true).await;
}

#[tokio::test]
async fn clones_and_services_share_one_state() {
    let health = Health::new();
    let (mut before, clone) = (health.readiness(), health.clone());
    let mut before_clone = before.clone();
    drop(health);
    clone.mark_ready();
    ask(&mut before, get("/")).await.is(200, JSON_OK);
    ask(&mut before_clone, get("/")).await.is(200, JSON_OK);
    drop(clone);
    // Without a handle left to move it, the state stays, and so do the answers.
    ask(&mut before, get("/")).await.is(200, JSON_OK);
}

#[tokio::test]
async fn options_has_the_status_of_get_and_no_body() {
    let health = Health::new();
    for ready in [false, true] {
        for path in [
            "/health",
            "/ready",
            "/startup",
            "/health/ping",
            "/checks",
            "/nothing",
        ] {
            let got = ask(health.probes(), get(path)).await;
            let answer = ask(health.probes(), request(Method::OPTIONS, path)).await;
            answer.is(got.head.status.as_u16(), "");
            assert_eq!(answer.header(&ALLOW), "GET, HEAD, OPTIONS");
            assert_eq!(answer.length(), 0);
            assert!(!answer.head.headers.contains_key(CONTENT_TYPE));
        }
        if !ready {
            health.mark_ready();
        }
    }
}

#[tokio::test]
async fn only_get_and_head() {
    let health = Health::new();
    health.mark_ready();
    let methods = "POST PUT DELETE PATCH TRACE CONNECT PURGE get";
    for method in methods.split(' ') {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for probe in Probe::ALL {
            let answer = ask(health.probes(), request(method.clone(), probe.path())).await;
            answer.is(
                405,
                "{\"error\":\"method not allowed\",\"allow\":[\"GET\",\"HEAD\"]}\n",
            );
            assert_eq!(answer.header(&ALLOW), "GET, HEAD, OPTIONS");
            assert_eq!(answer.length(), answer.body.len());
        }
    }
    let answer = ask(health.liveness(), request(Method::POST, "/")).await;
    assert_eq!(answer.head.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let health = Health::new();
    for path in ["/health", "/ready", "/startup", "/nothing"] {
        for accept in ["*/*", "text/plain"] {
            let [get, head] = [Method::GET, Method::HEAD].map(|method| {
                let mut request = request(method, path);
                let accept = HeaderValue::from_static(accept);
                request.headers_mut().insert(ACCEPT, accept);
                ask(health.probes(), request)
            });
            let (get, head) = (get.await, head.await);
            assert_eq!(get.length(), get.body.len());
            assert_eq!(head.head.status, get.head.status);
            assert_eq!(head.head.headers, get.head.headers);
            assert_eq!(head.body, "");
        }
    }
}

#[tokio::test]
async fn headers_are_complete() {
    let answer = ask(Health::new().readiness(), get("/")).await;
    assert_eq!(answer.header(&CONTENT_TYPE), "application/json");
    assert_eq!(answer.header(&CONTENT_LENGTH), "18");
    assert_eq!(
        answer.header(&CACHE_CONTROL),
        "no-cache, no-store, must-revalidate"
    );
    assert_eq!(
        answer.header(&http::header::X_CONTENT_TYPE_OPTIONS),
        "nosniff"
    );
    assert_eq!(answer.head.headers.len(), 4);
}

#[tokio::test]
async fn another_path_gets_the_paths() {
    let probes = Health::new().probes();
    for path in [
        "/",
        "/health//",
        "/healthz",
        "/READY",
        "//ready",
        "/x'y",
        "*",
    ] {
        let answer = ask(probes.clone(), get(path)).await;
        assert_eq!(answer.head.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.body.contains("x'y"), "an echo");
        for probe in Probe::ALL {
            let quoted = format!("\"{}\"", probe.path());
            assert!(answer.body.contains(&quoted), "{quoted}");
        }
        // Which paths there are does not depend on the method.
        let posted = ask(probes.clone(), request(Method::POST, path)).await;
        posted.is(404, &answer.body);
    }
    ask(probes.clone(), get("/health?verbose=1"))
        .await
        .is(200, JSON_OK);
    let connect = request(Method::CONNECT, "example.com:443");
    let answer = ask(probes, connect).await;
    assert_eq!(answer.head.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn errors_come_as_text_too() {
    let text = |mut request: Request<()>| {
        let accept = HeaderValue::from_static("text/plain");
        request.headers_mut().insert(ACCEPT, accept);
        ask(Health::new().probes(), request)
    };
    let missing = text(get("/")).await;
    assert_eq!(missing.head.status, StatusCode::NOT_FOUND);
    assert!(missing.body.starts_with("not found: try /health, /ready, "));
    let posted = text(request(Method::POST, "/ready")).await;
    posted.is(405, "method not allowed: use GET or HEAD\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_probes_while_flipping() {
    let health = Health::new();
    let running = Arc::new(());
    let (flipping, flipped) = (Arc::downgrade(&running), health.clone());
    let flipper = std::thread::spawn(move || {
        while flipping.strong_count() > 0 {
            flipped.mark_ready();
            flipped.mark_not_ready();
        }
    });
    let probes: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(probe_while_flipping(health.clone())))
        .collect();
    for probe in probes {
        probe.await.unwrap();
    }
    drop(running);
    flipper.join().unwrap();
    health.mark_ready();
    expect(&health, true, true, true).await;
}

/// At any moment an answer agrees with itself, and none is "ready" without "started".
async fn probe_while_flipping(health: Health) {
    for _ in 0..10 {
        let ready = ask(health.probes(), get("/ready")).await;
        match ready.head.status {
            StatusCode::OK => {
                ready.is(200, JSON_OK);
                ask(health.startup(), get("/")).await.is(200, JSON_OK);
            }
            _ => ready.is(503, JSON_DOWN),
        }
        ask(health.liveness(), get("/")).await.is(200, JSON_OK);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn ready_wakes_every_waiter_once_ready() {
    let health = Health::new();
    let waiters: Vec<_> = (0..100)
        .map(|_| {
            let health = health.clone();
            tokio::spawn(async move { health.ready().await })
        })
        .collect();
    tokio::task::yield_now().await;

    health.mark_started();
    health.mark_not_ready();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()));

    health.mark_ready();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    health.ready().await; // at once, the second time
    health.mark_not_ready();
    let again = tokio::time::timeout(Duration::from_secs(60), health.ready()).await;
    assert!(again.is_err(), "not ready any more");
    // The dropped waiter above took nothing with it.
    health.mark_ready();
    health.ready().await;
}

#[test]
fn needs_no_runtime_and_no_waiting() {
    let health = Health::new();
    health.mark_ready();
    let Ok(response) = health.readiness().call(get("/")).into_inner();
    assert_eq!(response.status(), StatusCode::OK);
    let debug = format!("{health:?} {:?}", health.probes());
    assert!(debug.contains("ready: true"), "{debug}");
}

#[test]
fn fits_where_axum_and_hyper_want_it() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn service<S, B>()
    where
        S: Service<Request<B>, Response = Response<AnswerBody>, Error = Infallible>,
        S::Future: Send + Sync + Unpin + 'static,
    {
    }
    struct NotEvenSend(#[expect(dead_code)] *const u8);

    shared::<Health>();
    shared::<ProbeService>();
    shared::<Probes>();
    shared::<AnswerBody>();
    service::<ProbeService, NotEvenSend>();
    service::<Probes, NotEvenSend>();
    fn send<T: Send>(_: &T) {}
    send(&Health::new().ready());
}
