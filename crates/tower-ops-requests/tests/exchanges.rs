//! What the tracker shows of an exchange, while it runs and afterwards.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt};
use tower_ops_observe::{
    Class, Facts, KnownMethod, Observe, ObserveLayer, Phase, Route, RouteHook, TraceIds,
};
use tower_ops_requests::{Kind, Outcome, RequestHandle, RequestTracker};
use tower_ops_testing::{Readied, ScriptedBody};

#[path = "support/drive.rs"]
mod drive;
use drive::{answer, exchange, get, poll, poll_frame, service};

const CUT: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_the_body_shows_before_and_after() {
    let tracker = RequestTracker::new();
    let body = ScriptedBody::new().data("hello").stalled();
    let mut body = answer(&tracker, get("/download"), Response::new(body)).into_body();
    assert!(poll_frame(&mut body).is_ready());
    assert!(poll_frame(&mut body).is_pending());
    advance(CUT).await;

    let running = tracker.in_flight();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].method, Some(KnownMethod::Get));
    assert_eq!(running[0].path.as_deref(), Some("/download"));
    assert_eq!(running[0].phase, Phase::Body);
    assert_eq!(running[0].status, Some(StatusCode::OK));
    assert_eq!(running[0].bytes_sent, 5);
    assert_eq!(running[0].age, CUT);
    assert_eq!((running[0].outcome, running[0].duration), (None, None));
    assert!(tracker.history().is_empty());

    drop(body);
    assert!(tracker.in_flight().is_empty());
    advance(CUT).await;
    let ended = &tracker.history()[0];
    assert_eq!(ended.id, running[0].id);
    assert_eq!(ended.outcome, Some(Outcome::CancelledDuringBody));
    assert_eq!(ended.class, Some(Class::Cancelled));
    assert_eq!((ended.phase, ended.bytes_sent), (Phase::Body, 5));
    assert_eq!((ended.duration, ended.age), (Some(CUT), CUT));
    assert_eq!(ended.time_to_head, Some(Duration::ZERO));
    assert_eq!(ended.ended_ago, Some(CUT));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_shows_before_and_after() {
    let tracker = RequestTracker::new();
    let mut service = service(&tracker, |_| {
        std::future::pending::<Result<Response<ScriptedBody>, std::io::Error>>()
    });
    let mut future = service.ready().await.unwrap().call(get("/report"));
    assert!(poll(&mut future).is_pending());
    advance(CUT).await;
    assert_eq!(tracker.in_flight()[0].phase, Phase::Head);
    assert_eq!(tracker.in_flight()[0].age, CUT);

    drop(future);
    assert!(tracker.in_flight().is_empty());
    let ended = &tracker.history()[0];
    assert_eq!(ended.outcome, Some(Outcome::CancelledBeforeHead));
    assert_eq!((ended.phase, ended.bytes_sent), (Phase::Head, 0));
    assert_eq!((ended.status, ended.time_to_head), (None, None));
    assert_eq!(ended.duration, Some(CUT));
}

#[test]
fn in_flight_lists_the_oldest_first_and_history_the_latest() {
    let tracker = RequestTracker::new();
    let open = |path: &str| {
        answer(
            &tracker,
            get(path),
            Response::new(ScriptedBody::new().stalled()),
        )
    };
    let (first, second) = (open("/1"), open("/2"));
    let paths = |list: Vec<tower_ops_requests::RequestSnapshot>| -> Vec<String> {
        list.into_iter().filter_map(|one| one.path).collect()
    };
    assert_eq!(paths(tracker.in_flight()), ["/1", "/2"]);
    drop(second);
    drop(first);
    assert_eq!(paths(tracker.history()), ["/1", "/2"]);
}

/// What other observers set, as connections and request ids will.
struct Teller;

impl Observe for Teller {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        facts.set_request_id(HeaderValue::from_static("order-7"));
        let ids = TraceIds::new(0x4bf9_2f35, 0xf067, TraceIds::SAMPLED);
        facts.set_trace_ids(ids.expect("not 0"));
        facts.set_peer(([192, 0, 2, 7], 4711).into());
        facts.set_connection(12);
        facts.set_route(Route::from_static("/users/{id}"));
    }

    fn on_end(&self, (): &mut (), _: &tower_ops_observe::Ending<'_>, _: &Facts) {}
}

#[tokio::test]
async fn what_other_observers_tell_is_shown() {
    let tracker = RequestTracker::new();
    let layer = ObserveLayer::new((Teller, tracker.clone()));
    let service = layer.layer(Readied::from_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(ScriptedBody::new().stalled()))
    }));
    let _response = service.oneshot(get("/users/1?secret")).await.unwrap();
    let running = &tracker.in_flight()[0];
    assert_eq!(running.request_id.as_deref(), Some("order-7"));
    let ids = running.trace_ids.unwrap();
    assert_eq!((ids.trace_id(), ids.span_id()), (0x4bf9_2f35, 0xf067));
    assert_eq!(running.peer, Some("192.0.2.7:4711".parse().unwrap()));
    assert_eq!(running.connection, Some(12));
    assert_eq!(
        running.route.as_ref().map(Route::as_str),
        Some("/users/{id}")
    );
    assert_eq!(
        running.path.as_deref(),
        Some("/users/1"),
        "no query: it may hold secrets"
    );
}

#[test]
fn the_id_that_a_layer_further_out_put_into_the_headers_is_shown() {
    let tracker = RequestTracker::new();
    let mut request = get("/");
    let id = HeaderValue::from_static("order-7");
    request.headers_mut().insert("x-request-id", id);
    drop(answer(
        &tracker,
        request,
        Response::new(ScriptedBody::new()),
    ));
    assert_eq!(tracker.history()[0].request_id.as_deref(), Some("order-7"));
}

#[test]
fn the_peer_is_looked_up_as_configured() {
    #[derive(Clone)]
    struct Peer(std::net::SocketAddr);
    let tracker = RequestTracker::builder()
        .peer(|extensions| Some(extensions.get::<Peer>()?.0))
        .build()
        .unwrap();
    let peer = "192.0.2.7:4711".parse().unwrap();
    let mut request = get("/");
    request.extensions_mut().insert(Peer(peer));
    drop(answer(
        &tracker,
        request,
        Response::new(ScriptedBody::new()),
    ));
    exchange(&tracker, "/none");
    let peers: Vec<_> = tracker.history().iter().map(|ended| ended.peer).collect();
    assert_eq!(peers, [None, Some(peer)]);
}

#[tokio::test]
async fn a_route_that_is_set_further_in_is_shown_from_the_head_on() {
    let tracker = RequestTracker::new();
    let inner = Readied::from_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(ScriptedBody::new().stalled()))
    });
    let service = tracker
        .layer()
        .layer(RouteHook::named("/static/{*path}").layer(inner));
    let response = service.oneshot(get("/static/a.css")).await.unwrap();
    let route = || tracker.in_flight()[0].route.clone();
    assert_eq!(route(), Some(Route::from_static("/static/{*path}")));
    drop(response);
    assert_eq!(
        tracker.history()[0].route,
        Some(Route::from_static("/static/{*path}"))
    );
    assert_eq!(tracker.stats().routes[0].route, "/static/{*path}");
}

#[test]
fn a_route_that_is_set_by_a_cancelled_request_is_in_the_history() {
    let tracker = RequestTracker::new();
    let inner = Readied::from_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<ScriptedBody>, std::io::Error>>()
    });
    let mut service = tracker
        .layer()
        .layer(RouteHook::named("/static/{*path}").layer(inner));
    assert!(
        service
            .poll_ready(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    );
    drop(service.call(get("/static/a.css")));
    assert_eq!(
        tracker.history()[0].route,
        Some(Route::from_static("/static/{*path}"))
    );
}

#[test]
fn a_grpc_call_has_its_method_and_its_status() {
    let tracker = RequestTracker::new();
    let mut request = get("/helloworld.Greeter/SayHello");
    *request.method_mut() = http::Method::POST;
    let grpc = HeaderValue::from_static("application/grpc");
    request
        .headers_mut()
        .insert(header::CONTENT_TYPE, grpc.clone());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("5"));
    let mut response = Response::new(ScriptedBody::new().trailers(trailers));
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    let mut body = answer(&tracker, request, response).into_body();
    assert!(poll_frame(&mut body).is_ready());
    let ended = &tracker.history()[0];
    assert_eq!(ended.grpc_status.unwrap().as_str(), "NOT_FOUND");
    assert_eq!(ended.class, Some(Class::ClientError));
    // It answered with a stream, and so it is one of the service's methods.
    let route = ended.route.as_ref().map(Route::as_str);
    assert_eq!(route, Some("helloworld.Greeter/SayHello"));
}

#[test]
fn kinds_are_known_by_the_head() {
    let tracker = RequestTracker::new();
    let with = |status: u16, content_type: &'static str| {
        let body = ScriptedBody::new().stalled();
        let response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, content_type);
        let response = response.body(body).unwrap();
        let mut request = get("/");
        let upgrade = HeaderValue::from_static("websocket");
        request.headers_mut().insert(header::UPGRADE, upgrade);
        answer(&tracker, request, response)
    };
    let running = [
        with(200, "application/json"),
        with(200, "text/event-stream"),
        with(200, "Text/Event-Stream; charset=utf-8"),
        with(200, "text/event"),
    ];
    let kinds: Vec<Kind> = tracker.in_flight().iter().map(|one| one.kind).collect();
    assert_eq!(
        kinds,
        [Kind::Request, Kind::Stream, Kind::Stream, Kind::Request]
    );
    drop(with(101, "text/plain"));
    let upgraded = &tracker.history()[0];
    assert_eq!(upgraded.kind, Kind::Upgrade);
    assert_eq!(upgraded.outcome, Some(Outcome::Upgraded));
    drop(running);
}

#[test]
fn the_status_of_the_history_is_what_the_client_got() {
    let tracker = RequestTracker::new();
    for (status, got) in [(103, 500), (101, 101)] {
        let response = Response::builder().status(status);
        let response = response.body(ScriptedBody::new().stalled()).unwrap();
        drop(answer(&tracker, get("/"), response));
        let ended = &tracker.history()[0];
        assert_eq!(ended.status.unwrap().as_u16(), got);
        assert_eq!(ended.kind, Kind::Request);
        assert_eq!(ended.class, Some(Class::ServerError));
    }
}

/// An error that panics when it is shown.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("planned")
    }
}

impl std::error::Error for Unspeakable {}

#[tokio::test]
async fn an_error_that_panics_when_shown_leaves_nothing_in_flight() {
    let tracker = RequestTracker::new();
    let mut service = service(&tracker, |_| {
        let error = std::io::Error::other(Unspeakable);
        std::future::ready(Err::<Response<ScriptedBody>, _>(error))
    });
    let error = service.ready().await.unwrap().call(get("/")).await;
    assert!(error.is_err(), "it is passed on");
    let error: Result<(), Box<dyn std::error::Error + Send + Sync>> = Err(Box::new(Unspeakable));
    let result = tracker.track("job", (), async { error }).await;
    assert!(result.is_err(), "it is passed on");

    assert!(tracker.in_flight().is_empty());
    let history = tracker.history();
    assert_eq!(history.len(), 2);
    for ended in history {
        assert_eq!(ended.outcome, Some(Outcome::Failed));
        assert_eq!(ended.error.as_deref(), Some("(its Display panicked)"));
    }
}

#[test]
fn an_error_is_kept_and_cut() {
    let tracker = RequestTracker::new();
    let mut service = service(&tracker, |_| {
        std::future::ready(Err::<Response<ScriptedBody>, _>(std::io::Error::other(
            "x".repeat(10_000),
        )))
    });
    assert!(
        service
            .poll_ready(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    );
    assert!(matches!(
        poll(&mut service.call(get("/"))),
        Poll::Ready(Err(_))
    ));
    let ended = &tracker.history()[0];
    assert_eq!(ended.outcome, Some(Outcome::Failed));
    assert_eq!(ended.error.as_ref().unwrap().len(), 256);
}

#[test]
fn the_handles_are_send_and_sync() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<RequestTracker>();
    shared::<RequestHandle>();
    shared::<tower_ops_requests::RequestTrackerLayer>();
    shared::<tower_ops_requests::RequestsService>();
}
