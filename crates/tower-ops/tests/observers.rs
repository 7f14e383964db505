//! An observer of the user's own in the bundle, and what is known of a request further in.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::{Router, routing::get};
use http::Request;
use tokio::net::TcpListener;
use tower_ops::Ops;
use tower_ops::observe::{Ending, Facts, Observe, ObserveLayer, Outcome, RequestFacts};
use tower_ops_testing::RawHttp1;

type Seen = (Option<String>, Option<SocketAddr>, Option<u64>);

/// What it found at the beginning and at the end of each exchange.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<(Seen, Outcome)>>>);

fn seen(facts: &Facts) -> Seen {
    let id = facts.request_id();
    let id = id.map(|id| id.to_str().unwrap().to_owned());
    (id, facts.peer(), facts.connection())
}

impl Observe for Record {
    type Exchange = Seen;

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) -> Seen {
        seen(facts)
    }

    fn on_end(&self, begun: &mut Seen, ending: &Ending<'_>, facts: &Facts) {
        assert_eq!(*begun, seen(facts));
        self.0
            .lock()
            .unwrap()
            .push((begun.clone(), ending.outcome()));
    }
}

fn ops() -> Ops {
    Ops::builder("test").for_tests().build().unwrap()
}

/// One request with the id `it`: the peer that it has, and the answer.
async fn ask(ops: Ops, app: Router, path: &str) -> (SocketAddr, u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { ops.serve(listener, app).await });
    let mut client = RawHttp1::connect(addr).await.unwrap();
    let id = [("x-request-id", "it")];
    client.send_request("GET", path, &id, "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap();
    let text = String::from_utf8(body.data.to_vec()).unwrap();
    let peer = client.local_addr().unwrap();
    serving.abort();
    (peer, head.status.as_u16(), text)
}

#[tokio::test]
async fn an_observer_of_ones_own_sees_what_those_of_the_bundle_found() {
    let (first, second) = (Record::default(), Record::default());
    let ops = ops();
    let layer = ops.layer().with_observer(first.clone());
    let layer = layer.with_observer(Arc::new(second.clone()));
    let app = Router::new().route("/", get(async || "hello")).layer(layer);
    let (peer, status, _) = ask(ops, app, "/").await;
    assert_eq!(status, 200);
    for record in [first, second] {
        let all = record.0.lock().unwrap();
        let [((id, from, connection), outcome)] = &all[..] else {
            panic!("one exchange: {all:?}");
        };
        assert_eq!((id.as_deref(), *from), (Some("it"), Some(peer)));
        assert!(connection.is_some() && *outcome == Outcome::Completed);
    }
}

#[tokio::test]
async fn an_observer_further_in_begins_with_what_the_bundle_found() {
    let record = Record::default();
    let ops = ops();
    let app = Router::new()
        .route("/", get(async || "hello"))
        .layer(ObserveLayer::new(record.clone()))
        .layer(ops.layer());
    let (peer, ..) = ask(ops, app, "/").await;
    let all = record.0.lock().unwrap();
    let ((id, from, connection), _) = &all[0];
    assert_eq!((id.as_deref(), *from), (Some("it"), Some(peer)));
    assert!(connection.is_some());
}

#[tokio::test]
async fn a_handler_extracts_the_facts_and_without_the_layer_the_answer_names_it() {
    let shown = get(async |facts: RequestFacts| {
        let id = facts.request_id().unwrap().to_str().unwrap();
        format!("{id} {} {}", facts.peer().unwrap(), facts.scheme())
    });
    let at_will = get(async |facts: Option<RequestFacts>| facts.is_some().to_string());
    let app = Router::new().route("/", shown).route("/option", at_will);
    let one = ops();
    let (peer, _, text) = ask(one.clone(), app.clone().layer(one.layer()), "/").await;
    assert_eq!(text, format!("it {peer} http"));
    let (_, status, text) = ask(ops(), app.clone(), "/").await;
    assert_eq!(status, 500);
    assert!(text.contains("add ops.layer()"), "{text}");
    let (_, _, text) = ask(ops(), app, "/option").await;
    assert_eq!(text, "false");
    assert!(RequestFacts::current().is_none());
}
