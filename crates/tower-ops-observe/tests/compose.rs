//! Observers put together: in tuples, in layers, shared, and turned off.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_ops_observe::{
    Ending, Facts, Observe, ObserveLayer, Outcome, Route, RouteHook, Side, TraceIds,
};
use tower_ops_testing::{Readied, ScriptedBody};

#[path = "support/record.rs"]
mod record;
use record::Recorder;

/// Writes every call of its methods, with its name, into a list that is shared with others.
#[derive(Clone)]
struct Named(&'static str, Arc<Mutex<Vec<String>>>);

impl Named {
    fn write(&self, what: &str) {
        self.1.lock().unwrap().push(format!("{what} {}", self.0));
    }
}

impl Observe for Named {
    /// The name again, to see that each gets its own part of the exchange.
    type Exchange = &'static str;

    fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) -> &'static str {
        self.write("request");
        self.0
    }

    fn on_response<B>(&self, own: &mut &'static str, _: &mut Response<B>, _: &mut Facts) {
        assert_eq!(*own, self.0);
        self.write("response");
    }

    fn on_data(&self, own: &mut &'static str, bytes: usize) {
        assert_eq!(*own, self.0);
        self.write(&format!("data {bytes}"));
    }

    fn on_end(&self, own: &mut &'static str, ending: &Ending<'_>, _: &Facts) {
        assert_eq!(*own, self.0);
        self.write(&format!("end {}", ending.outcome()));
    }

    fn in_scope<R>(&self, own: &mut &'static str, step: impl FnOnce() -> R) -> R {
        assert_eq!(*own, self.0);
        self.write("enter");
        let result = step();
        self.write("exit");
        result
    }
}

async fn two_bytes(_: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    Ok(Response::new(ScriptedBody::new().data("ab")))
}

/// Runs one exchange of two bytes through a service, to the end of its body.
async fn run<S, B>(service: S)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body,
{
    let Ok(response) = service.oneshot(Request::new(())).await;
    assert!(response.into_body().collect().await.is_ok());
}

async fn observe<O: Observe>(observer: O) {
    run(ObserveLayer::new(observer).layer(Readied::from_fn(two_bytes))).await;
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What these observers are to be told of an exchange of two bytes, in this order.
fn told(names: &[&str]) -> Vec<String> {
    let each = |what: &str| names.iter().map(|name| format!("{what} {name}")).collect();
    let nested = || {
        let exits = names.iter().rev().map(|name| format!("exit {name}"));
        [each("enter"), exits.collect()].concat()
    };
    let events: [Vec<String>; 8] = [
        each("request"),
        nested(), // the call
        nested(), // the future
        each("response"),
        nested(), // the data
        each("data 2"),
        nested(), // no more
        each("end completed"),
    ];
    events.concat()
}

#[tokio::test]
async fn tuples_tell_their_members_in_order_and_nest_their_scopes() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let n = |index: usize| Named(NAMES[index], Arc::clone(&events));
    let assert_told = |members| {
        let seen = std::mem::take(&mut *events.lock().unwrap());
        assert_eq!(seen, told(&NAMES[..members]));
    };
    observe(n(0)).await;
    assert_told(1);
    observe((n(0), n(1))).await;
    assert_told(2);
    observe((n(0), n(1), n(2))).await;
    assert_told(3);
    observe((n(0), n(1), n(2), n(3))).await;
    assert_told(4);
    observe((n(0), n(1), n(2), n(3), n(4))).await;
    assert_told(5);
    observe((n(0), n(1), n(2), n(3), n(4), n(5))).await;
    assert_told(6);
    observe((n(0), n(1), n(2), n(3), n(4), n(5), n(6))).await;
    assert_told(7);
    observe((n(0), n(1), n(2), n(3), n(4), n(5), n(6), n(7))).await;
    assert_told(8);
    // A tuple is an observer, and so may stand in one.
    observe(((n(0), n(1)), ((n(2), n(3)), n(4)))).await;
    assert_told(5);
}

#[tokio::test]
async fn an_option_observes_if_it_is_some() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let named = |name| Named(name, Arc::clone(&events));
    observe((named("a"), None::<Named>, Some(named("b")))).await;
    assert_eq!(*events.lock().unwrap(), told(&["a", "b"]));
}

#[tokio::test]
async fn a_lone_none_leaves_the_service_as_it_is() {
    let layer = ObserveLayer::new(None::<Recorder>);
    let service = layer.layer(Readied::from_fn(two_bytes));
    let Ok(response) = service.oneshot(Request::new(())).await;
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "ab");
    assert!(layer.observer().is_none());
}

#[tokio::test]
async fn an_arc_shares_its_observer() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::new(Named("a", Arc::clone(&events)));
    observe(Arc::clone(&shared)).await;
    assert_eq!(*events.lock().unwrap(), told(&["a"]));
    observe((Arc::clone(&shared), shared)).await;
    let seen = events.lock().unwrap().split_off(told(&["a"]).len());
    assert_eq!(seen, told(&["a", "a"]));
}

#[tokio::test]
async fn nested_layers_see_the_exchange_once_each() {
    let recorders = [Recorder::new(), Recorder::new(), Recorder::new()];
    let [outer, middle, inner] = &recorders;
    run(ServiceBuilder::new()
        .layer(ObserveLayer::new(outer.clone()))
        .layer(ObserveLayer::new((middle.clone(), middle.clone())))
        .layer(ObserveLayer::new(inner.clone()))
        .service(Readied::from_fn(two_bytes)))
    .await;
    assert_eq!((outer.requests(), outer.endings().len()), (1, 1));
    assert_eq!((middle.requests(), middle.endings().len()), (2, 2));
    assert_eq!((inner.requests(), inner.endings().len()), (1, 1));
    for recorder in &recorders {
        for ended in recorder.endings() {
            assert_eq!(ended.outcome, Outcome::Completed);
            assert_eq!(ended.bytes_sent, 2);
        }
    }
}

fn ids() -> TraceIds {
    TraceIds::new(7, 8, TraceIds::SAMPLED).unwrap()
}

/// Writes facts, some with the request and some with the response.
struct Writer;

impl Observe for Writer {
    type Exchange = ();

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) {
        request
            .headers_mut()
            .insert("x-written", HeaderValue::from_static("1"));
        assert_eq!(facts.request_id(), None);
        facts.set_request_id(HeaderValue::from_static("id-1"));
        facts.set_request_id_replaced();
        facts.set_trace_ids(ids());
        facts.set_peer(([127, 0, 0, 1], 9).into());
        facts.set_connection(5);
    }

    fn on_response<B>(&self, (): &mut (), response: &mut Response<B>, facts: &mut Facts) {
        response
            .headers_mut()
            .insert("x-written", HeaderValue::from_static("2"));
        facts.set_route(Route::from_static("/written"));
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

/// Checks what [`Writer`] wrote.
struct Reader(Arc<Mutex<Vec<&'static str>>>);

impl Observe for Reader {
    type Exchange = ();

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) {
        assert_eq!(request.headers()["x-written"], "1");
        assert_eq!(facts.request_id().unwrap(), "id-1");
        assert!(facts.request_id_replaced());
        assert_eq!(facts.trace_ids(), Some(ids()));
        assert_eq!(facts.peer(), Some(([127, 0, 0, 1], 9).into()));
        assert_eq!(facts.connection(), Some(5));
        assert_eq!(facts.route(), None);
        assert_eq!(facts.route_or_unmatched(), "{unmatched}");
        self.0.lock().unwrap().push("request");
    }

    fn on_response<B>(&self, (): &mut (), response: &mut Response<B>, facts: &mut Facts) {
        assert_eq!(response.headers()["x-written"], "2");
        assert_eq!(facts.route_or_unmatched(), "/written");
        self.0.lock().unwrap().push("response");
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, facts: &Facts) {
        assert_eq!(facts.request_id().unwrap(), "id-1");
        assert_eq!(facts.route(), Some(&Route::from_static("/written")));
        self.0.lock().unwrap().push("end");
    }
}

#[tokio::test]
async fn what_the_first_observer_writes_the_second_reads() {
    let read = Arc::new(Mutex::new(Vec::new()));
    observe((Writer, Reader(Arc::clone(&read)))).await;
    assert_eq!(*read.lock().unwrap(), ["request", "response", "end"]);
}

/// Notes the side of each exchange, with its scheme.
struct Sides(Arc<Mutex<Vec<(Side, &'static str)>>>);

impl Observe for Sides {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        self.0.lock().unwrap().push((facts.side(), facts.scheme()));
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

#[tokio::test]
async fn a_layer_around_a_client_is_told_apart() {
    let sides = Arc::new(Mutex::new(Vec::new()));
    let service = || Readied::from_fn(two_bytes);
    let client = ObserveLayer::outgoing(Sides(Arc::clone(&sides))).layer(service());
    let request = Request::get("https://example.com/").body(()).unwrap();
    let Ok(_) = client.oneshot(request).await;
    run(ObserveLayer::new(Sides(Arc::clone(&sides))).layer(service())).await;
    assert_eq!(
        *sides.lock().unwrap(),
        [(Side::Client, "https"), (Side::Server, "http")]
    );
}

#[tokio::test]
async fn the_scheme_is_what_the_connection_is_and_no_choice_of_an_http1_client() {
    /// Knows the connection.
    struct Knows(&'static Scheme);
    impl Observe for Knows {
        type Exchange = ();
        fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
            facts.set_scheme(self.0);
        }
        fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
    }
    use http::Version;
    use http::uri::Scheme;
    let tls = || Some(Knows(&Scheme::HTTPS));
    let plain = || Some(Knows(&Scheme::HTTP));
    for (target, version, knows, expected) in [
        ("/", Version::HTTP_11, None, "http"),
        ("https://a.example/", Version::HTTP_11, None, "http"),
        ("https://a.example/", Version::HTTP_10, None, "http"),
        ("https://a.example/", Version::HTTP_2, None, "https"),
        ("http://a.example/", Version::HTTP_2, None, "http"),
        ("/", Version::HTTP_11, tls(), "https"),
        ("http://a.example/", Version::HTTP_11, tls(), "https"),
        ("http://a.example/", Version::HTTP_2, tls(), "https"),
        ("https://a.example/", Version::HTTP_11, plain(), "http"),
        ("https://a.example/", Version::HTTP_2, plain(), "http"),
    ] {
        let sides = Arc::new(Mutex::new(Vec::new()));
        let layer = ObserveLayer::new((knows, Sides(Arc::clone(&sides))));
        let request = Request::get(target).version(version).body(()).unwrap();
        let Ok(_) = layer
            .layer(Readied::from_fn(two_bytes))
            .oneshot(request)
            .await;
        assert_eq!(
            *sides.lock().unwrap(),
            [(Side::Server, expected)],
            "{target} {version:?}"
        );
    }
}

#[tokio::test]
async fn an_outgoing_exchange_ends_as_an_incoming_one_does() {
    let recorder = Recorder::new();
    run(ObserveLayer::outgoing(recorder.clone()).layer(Readied::from_fn(two_bytes))).await;
    assert_eq!(recorder.only().outcome, Outcome::Completed);
    assert_eq!(recorder.only().bytes_sent, 2);
}

/// Sends a request through an outgoing layer whose callee, in this process, has a hooked route.
async fn call_out(outgoing: Recorder) {
    let callee = RouteHook::named("/callee").layer(Readied::from_fn(two_bytes));
    run(ObserveLayer::outgoing(outgoing).layer(callee)).await;
}

#[tokio::test]
async fn the_route_of_an_outgoing_exchange_stays_its_own() {
    let (outer, outgoing) = (Recorder::new(), Recorder::new());
    let service = async |request: Request<()>| {
        call_out(outgoing.clone()).await;
        two_bytes(request).await
    };
    let named = RouteHook::named("/outer").layer(Readied::from_fn(service));
    run(ObserveLayer::new(outer.clone()).layer(named)).await;
    assert_eq!(outgoing.route().as_deref(), Some("/callee"));
    assert_eq!(outer.route().as_deref(), Some("/outer"));
}

#[tokio::test]
async fn the_route_of_an_outgoing_exchange_is_not_lent_to_one_without() {
    let (outer, outgoing) = (Recorder::new(), Recorder::new());
    let service = Readied::from_fn(async |request: Request<()>| {
        call_out(outgoing.clone()).await;
        two_bytes(request).await
    });
    run(ObserveLayer::new(outer.clone()).layer(service)).await;
    assert_eq!(outgoing.route().as_deref(), Some("/callee"));
    assert_eq!(outer.route(), None);
}

#[tokio::test]
async fn nested_incoming_layers_share_the_route() {
    let (outer, inner) = (Recorder::new(), Recorder::new());
    run(ServiceBuilder::new()
        .layer(ObserveLayer::new(outer.clone()))
        .layer(ObserveLayer::new(inner.clone()))
        .layer(RouteHook::named("/static/{*path}"))
        .service(Readied::from_fn(two_bytes)))
    .await;
    assert_eq!(inner.route().as_deref(), Some("/static/{*path}"));
    assert_eq!(outer.route().as_deref(), Some("/static/{*path}"));
}
