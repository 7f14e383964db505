//! Whose id counts: the request's, an outer layer's, the trace's, or a new one.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::Full;
use tower::ServiceExt;
use tower_layer::Layer;
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, TraceIds};
use tower_ops_request_id::{
    Generator, Inbound, RequestId, RequestIdClientLayer, RequestIdLayer, RequestIds,
};
use tower_ops_testing::Readied;
use uuid::{Uuid, Variant};

const CUSTOM: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traceparent() -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-01")
}

fn request(headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

#[derive(Clone)]
struct Seen(HeaderMap, Option<RequestId>);

async fn handler(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let seen = Seen(request.headers().clone(), RequestId::current());
    let mut response = Response::new(Full::default());
    response.extensions_mut().insert(seen);
    Ok(response)
}

/// The id that the request ends up with, everywhere the same.
async fn through(layer: &RequestIdLayer, request: Request<()>) -> String {
    named(layer, "x-request-id", request).await
}

async fn named(layer: &RequestIdLayer, name: &str, request: Request<()>) -> String {
    let service = layer.layer(Readied::from_fn(handler));
    let Ok(response) = service.oneshot(request).await;
    let Seen(headers, current) = response.extensions().get::<Seen>().unwrap();
    let current = current.as_ref().unwrap();
    assert_eq!(headers[name], current.as_str());
    assert_eq!(response.headers()[name], current.as_str());
    current.to_string()
}

fn is_uuid(id: &str, version: usize) -> bool {
    Uuid::parse_str(id).is_ok_and(|uuid| {
        uuid.get_version_num() == version
            && uuid.get_variant() == Variant::RFC4122
            && uuid.hyphenated().to_string() == id
    })
}

#[tokio::test]
async fn a_valid_id_is_accepted_by_default() {
    for layer in [
        RequestIdLayer::new(),
        RequestIdLayer::default(),
        RequestIdLayer::new().with_inbound(Inbound::accept()),
    ] {
        let id = through(&layer, request(&[("x-request-id", "abc")])).await;
        assert_eq!(id, "abc");
        assert!(is_uuid(&through(&layer, request(&[])).await, 4));
        assert_eq!(layer.invalid_count(), 0);
    }
}

#[tokio::test]
async fn invalid_ids_are_replaced_and_counted_over_all_clones() {
    let layer = RequestIdLayer::new();
    let clone = layer.clone();
    for layer in [&layer, &clone] {
        let id = through(layer, request(&[("x-request-id", "a b")])).await;
        assert!(is_uuid(&id, 4));
        let twice = [("x-request-id", "a"), ("x-request-id", "b")];
        assert!(is_uuid(&through(layer, request(&twice)).await, 4));
    }
    assert_eq!((layer.invalid_count(), clone.invalid_count()), (4, 4));
}

#[tokio::test]
async fn replace_takes_no_id_from_outside() {
    let layer = RequestIdLayer::new().with_inbound(Inbound::replace());
    for sent in ["abc", "a b"] {
        let id = through(&layer, request(&[("x-request-id", sent)])).await;
        assert!(is_uuid(&id, 4));
    }
    let twice = [("x-request-id", "a"), ("x-request-id", "b")];
    assert!(is_uuid(&through(&layer, request(&twice)).await, 4));
}

#[tokio::test]
async fn a_predicate_decides_by_the_peer() {
    let layer = RequestIdLayer::new().with_inbound(Inbound::accept_if(|head| {
        let peer = head.extensions().get::<SocketAddr>();
        peer.is_some_and(|peer| peer.ip() == Ipv4Addr::new(10, 0, 0, 1))
    }));
    for (peer, trusted) in [
        (Some([10, 0, 0, 1]), true),
        (Some([192, 0, 2, 1]), false),
        (None, false),
    ] {
        let mut request = request(&[("x-request-id", "abc")]);
        if let Some(ip) = peer {
            request.extensions_mut().insert(SocketAddr::from((ip, 80)));
        }
        let id = through(&layer, request).await;
        assert_eq!(id == "abc", trusted, "{peer:?}");
    }
}

#[tokio::test]
async fn a_predicate_sees_the_whole_head_and_does_not_excuse_an_invalid_id() {
    let layer = RequestIdLayer::new().with_inbound(Inbound::accept_if(|head| {
        head.method() == http::Method::POST
            && head.uri().path() == "/orders"
            && head.headers()["x-key"] == "k"
    }));
    for (sent, taken) in [("abc", true), ("a b", false)] {
        let request = Request::post("/orders?x=1")
            .header("x-key", "k")
            .header("x-request-id", sent);
        let id = through(&layer, request.body(()).unwrap()).await;
        assert_eq!(id == sent, taken);
    }
    assert_eq!(layer.invalid_count(), 1);
}

/// The ids that an outer and an inner layer show, request by request.
async fn nested(outer: RequestIdLayer, inner: &RequestIdLayer, request: Request<()>) -> Seen {
    let service = outer.layer(inner.layer(Readied::from_fn(handler)));
    let Ok(response) = service.oneshot(request).await;
    let seen = response.extensions().get::<Seen>().unwrap().clone();
    let answered = response.headers()["x-request-id"].to_str().unwrap();
    assert_eq!(seen.1.as_ref().map(RequestId::as_str), Some(answered));
    seen
}

#[tokio::test]
async fn an_inner_layer_keeps_the_outer_layers_id_whatever_its_policy() {
    let own = Generator::from_fn(|| "inner".parse().unwrap());
    for policy in [
        Inbound::accept(),
        Inbound::replace(),
        Inbound::accept_if(|_| false),
        Inbound::accept_if(|_| true),
    ] {
        for (sent, id) in [("abc", "abc"), ("a b", "outer")] {
            let outer = RequestIdLayer::new()
                .with_generator(Generator::from_fn(|| "outer".parse().unwrap()));
            let inner = RequestIdLayer::new()
                .with_inbound(policy.clone())
                .with_generator(own.clone());
            let seen = nested(outer, &inner, request(&[("x-request-id", sent)])).await;
            assert_eq!(seen.1.unwrap().as_str(), id, "{policy:?}");
            assert_eq!(seen.0["x-request-id"], id, "{policy:?}");
            assert_eq!(inner.invalid_count(), 0);
        }
    }
}

#[tokio::test]
async fn an_inner_layer_with_another_header_keeps_the_outer_layers_id() {
    let inner = RequestIdLayer::new()
        .with_header(CUSTOM)
        .with_traceparent_fallback();
    let traceparent = traceparent();
    for headers in [
        [("x-request-id", "abc"), ("x-else", "")],
        [("x-request-id", "abc"), ("traceparent", &traceparent)],
        [("x-request-id", "abc"), ("x-correlation-id", "not valid")],
    ] {
        let seen = nested(RequestIdLayer::new(), &inner, request(&headers)).await;
        assert_eq!(seen.1.unwrap().as_str(), "abc", "{headers:?}");
        assert_eq!(seen.0[CUSTOM], "abc", "{headers:?}");
    }
    assert_eq!(inner.invalid_count(), 1);
}

#[tokio::test]
async fn a_valid_traceparent_stands_in_for_a_missing_or_invalid_id() {
    let layer = RequestIdLayer::new().with_traceparent_fallback();
    let traceparent = traceparent();
    let only = request(&[("traceparent", &traceparent)]);
    assert_eq!(through(&layer, only).await, TRACE);
    let invalid = [("traceparent", &*traceparent), ("x-request-id", "a b")];
    assert_eq!(through(&layer, request(&invalid)).await, TRACE);
    assert_eq!(layer.invalid_count(), 1);
}

#[tokio::test]
async fn an_id_of_its_own_goes_before_the_traceparent() {
    let layer = RequestIdLayer::new().with_traceparent_fallback();
    let both = [("traceparent", &*traceparent()), ("x-request-id", "abc")];
    assert_eq!(through(&layer, request(&both)).await, "abc");
}

#[tokio::test]
async fn a_traceparent_is_not_asked_unless_told() {
    let layer = RequestIdLayer::new();
    let traceparent = traceparent();
    let only = request(&[("traceparent", &traceparent)]);
    assert!(is_uuid(&through(&layer, only).await, 4));
}

#[tokio::test]
async fn a_policy_that_refuses_ids_refuses_the_traceparent() {
    let traceparent = traceparent();
    for policy in [Inbound::replace(), Inbound::accept_if(|_| false)] {
        let layer = RequestIdLayer::new()
            .with_traceparent_fallback()
            .with_inbound(policy);
        let only = request(&[("traceparent", &traceparent)]);
        assert!(is_uuid(&through(&layer, only).await, 4));
        let both = [("traceparent", &*traceparent), ("x-request-id", "abc")];
        assert!(is_uuid(&through(&layer, request(&both)).await, 4));
    }
}

#[tokio::test]
async fn an_invalid_or_repeated_traceparent_is_ignored() {
    let layer = RequestIdLayer::new().with_traceparent_fallback();
    let valid = traceparent();
    let other = valid.replace('4', "5");
    for values in [
        &["nonsense"][..],
        &[""],
        &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        &[&valid.to_uppercase()],
        &[&valid, &other],
        &[&valid, &valid],
    ] {
        let headers: Vec<_> = values.iter().map(|value| ("traceparent", *value)).collect();
        let id = through(&layer, request(&headers)).await;
        assert!(is_uuid(&id, 4), "{values:?}: {id}");
    }
    assert_eq!(layer.invalid_count(), 0, "it is no request id");
}

#[derive(Clone, Default)]
struct SeenTraces(Arc<Mutex<Vec<Option<u128>>>>);

impl Observe for SeenTraces {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        self.0
            .lock()
            .unwrap()
            .push(facts.trace_ids().map(TraceIds::trace_id));
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

#[tokio::test]
async fn the_observers_behind_learn_the_trace_id_that_became_the_request_id() {
    let seen = SeenTraces::default();
    let ids = RequestIds::new().with_traceparent_fallback();
    let layer = ObserveLayer::new((ids, seen.clone()));
    let traceparent = traceparent();
    for request in [request(&[("traceparent", &traceparent)]), request(&[])] {
        let service = layer.layer(Readied::from_fn(handler));
        let Ok(_) = service.oneshot(request).await;
    }
    let number = u128::from_str_radix(TRACE, 16).unwrap();
    assert_eq!(*seen.0.lock().unwrap(), [Some(number), None]);
}

#[tokio::test]
async fn new_ids_come_from_the_generator() {
    let v7 = RequestIdLayer::new().with_generator(Generator::uuid_v7());
    assert!(is_uuid(&through(&v7, request(&[])).await, 7));
    let v4 = RequestIdLayer::new().with_generator(Generator::uuid_v4());
    assert!(is_uuid(&through(&v4, request(&[])).await, 4));
    assert_ne!(
        through(&v4, request(&[])).await,
        through(&v4, request(&[])).await
    );
}

#[tokio::test]
async fn an_own_generator_is_asked_only_when_an_id_is_missing() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let layer = RequestIdLayer::new().with_generator(Generator::from_fn(move || {
        let n = counted.fetch_add(1, Ordering::Relaxed);
        format!("own-{n}").parse().unwrap()
    }));
    assert_eq!(through(&layer, request(&[])).await, "own-0");
    let sent = request(&[("x-request-id", "abc")]);
    assert_eq!(through(&layer, sent).await, "abc");
    assert_eq!(through(&layer, request(&[])).await, "own-1");
    assert_eq!(made.load(Ordering::Relaxed), 2);
}

#[test]
fn a_version_7_id_begins_with_the_time() {
    let millis = || {
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis()
    };
    let before = millis();
    let id = Generator::uuid_v7().generate();
    let after = millis();
    let hex = id.as_str().replace('-', "");
    let stamp = u128::from_str_radix(&hex[..12], 16).unwrap();
    assert!(
        (before..=after).contains(&stamp),
        "{before} {stamp} {after}"
    );
}

#[tokio::test]
async fn another_header_is_used_in_both_directions_and_the_usual_one_left_alone() {
    let layer = RequestIdLayer::new().with_header(CUSTOM);
    let sent = [("x-correlation-id", "abc"), ("x-request-id", "client's")];
    let service = layer.layer(Readied::from_fn(handler));
    let Ok(response) = service.oneshot(request(&sent)).await;
    let Seen(headers, current) = response.extensions().get::<Seen>().unwrap();
    assert_eq!(current.as_ref().unwrap().as_str(), "abc");
    assert_eq!(headers["x-correlation-id"], "abc");
    assert_eq!(headers["x-request-id"], "client's");
    assert_eq!(response.headers()["x-correlation-id"], "abc");
    assert!(!response.headers().contains_key("x-request-id"));

    assert!(is_uuid(
        &named(&layer, "x-correlation-id", request(&[])).await,
        4
    ));
}

#[tokio::test]
async fn a_client_sends_another_header_if_told() {
    let callee = |request: Request<()>| async move { Ok::<_, Infallible>(request) };
    let client = RequestIdClientLayer::new()
        .with_header(CUSTOM)
        .layer(Readied::from_fn(callee));
    let id: RequestId = "abc".parse().unwrap();
    let Ok(sent) = id.scope(client.oneshot(request(&[]))).await;
    assert_eq!(sent.headers()["x-correlation-id"], "abc");
    assert!(!sent.headers().contains_key("x-request-id"));
}

#[test]
fn the_policy_and_the_generator_show_what_they_are() {
    let shown = format!(
        "{:?} {:?} {:?}",
        Inbound::default(),
        Inbound::replace(),
        Inbound::accept_if(|_| true),
    );
    assert_eq!(
        shown,
        "Inbound::accept() Inbound::replace() Inbound::accept_if(..)"
    );
    let own = Generator::from_fn(|| "own".parse().unwrap());
    let shown = format!(
        "{:?} {:?} {own:?}",
        Generator::default(),
        Generator::uuid_v7()
    );
    assert_eq!(
        shown,
        "Generator::uuid_v4() Generator::uuid_v7() Generator::from_fn(..)"
    );
}
