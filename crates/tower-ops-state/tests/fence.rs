//! After a hand-over the old instance writes no more, and none of the writes before is
//! missing in what was handed over.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_ops_state::{Fenced, Restore, State};

use self::client::TOKEN;
use self::eventually::eventually;
use self::shelf::{Mode, Shelf};

#[allow(dead_code, reason = "only the token")]
#[path = "support/client.rs"]
mod client;
#[path = "support/eventually.rs"]
mod eventually;
#[path = "support/shelf.rs"]
mod shelf;

fn shop(shelf: &Shelf) -> State {
    let builder = State::builder("shop", "1").participant(shelf.clone());
    builder
        .token(TOKEN)
        .restore_when(|| true)
        .idle_body_timeout(Duration::from_millis(100))
        .build()
        .unwrap()
}

fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {TOKEN}"));
    request.body(Empty::new()).unwrap()
}

async fn call(state: &State, path: &str) -> Response<tower_ops_state::StateBody> {
    let Ok(response) = state.service().oneshot(request("GET", path)).await;
    response
}

async fn hand_over(state: &State) -> Bytes {
    let response = call(state, "/?fence=1").await;
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn the_state_belongs_to_one_of_them() {
    let (first, second) = (Shelf::new("shelf", &["a"]), Shelf::new("shelf", &[]));
    let (from, to) = (shop(&first), shop(&second));
    assert!(from.fence().enter().is_ok());
    let envelope = hand_over(&from).await;
    assert!(from.fence().is_handed_over());
    let Err(Fenced { .. }) = from.fence().enter() else {
        panic!("the fence is open");
    };
    to.restore(envelope.clone(), Restore::new()).await.unwrap();
    assert_eq!((from.generation(), to.generation()), (0, 1));
    assert!(to.fence().enter().is_ok());

    // Back again, and what was handed over before is of no use any more.
    let back = hand_over(&to).await;
    from.restore(back, Restore::new()).await.unwrap();
    assert!(from.fence().enter().is_ok());
    assert!(to.fence().enter().is_err());
    assert_eq!(from.generation(), 2);
    from.restore(envelope, Restore::new()).await.unwrap_err();
}

#[tokio::test]
async fn a_hand_over_waits_for_the_writes_that_have_begun() {
    let shelf = Shelf::new("shelf", &["a"]);
    let state = shop(&shelf);
    let writing = state.fence().enter().unwrap();
    let of = state.clone();
    let taking = tokio::spawn(async move { hand_over(&of).await });
    eventually(async || state.fence().is_closed()).await;
    assert!(state.fence().enter().is_err());
    shelf.items().push("b".to_owned());
    drop(writing);
    let envelope = taking.await.unwrap();
    assert!(envelope.ends_with(b"\"data\":{\"shelf\":[\"a\",\"b\"]}}\n"));
}

#[tokio::test]
async fn writes_that_do_not_end_keep_the_state_here() {
    let builder = State::builder("shop", "1").participant(Shelf::new("shelf", &["a"]));
    let builder = builder.capture_timeout(Duration::from_millis(200));
    let state = builder.token(TOKEN).build().unwrap();
    let writing = state.fence().enter().unwrap();
    let response = call(&state, "/?fence=1").await;
    assert_eq!(response.status(), 504);
    eventually(async || !state.fence().is_closed()).await;
    drop(writing);
    hand_over(&state).await;
}

#[tokio::test]
async fn a_capture_that_fails_hands_nothing_over() {
    let shelf = Shelf::new("shelf", &["a"]);
    let state = shop(&shelf);
    for mode in [Mode::RefuseCapture, Mode::PanicInCapture] {
        shelf.next(mode);
        assert_eq!(call(&state, "/?fence=1").await.status(), 422);
        assert!(state.fence().enter().is_ok());
    }
}

fn large() -> (Shelf, State) {
    let items: Vec<String> = (0..40).map(|_| "x".repeat(64 * 1024)).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let shelf = Shelf::new("shelf", &items);
    let state = shop(&shelf);
    (shelf, state)
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_last_chunk_leaves_the_state_here() {
    let (_shelf, state) = large();
    let mut body = call(&state, "/?fence=1").await.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(state.fence().is_closed());
    drop(body);
    eventually(async || !state.fence().is_closed()).await;
    assert!(!state.fence().is_handed_over());
    assert_eq!(state.generation(), 0);
    eventually(async || call(&state, "/").await.status() != 409).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_more_is_left() {
    let (_shelf, state) = large();
    let mut body = call(&state, "/?fence=1").await.into_body();
    body.frame().await.unwrap().unwrap();
    // Longer than a client may idle.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!state.fence().is_closed());
    let rest = body.collect().await;
    assert!(rest.is_err(), "an envelope that is cut is an error");
    assert!(!state.fence().is_handed_over());
}

#[tokio::test]
async fn with_the_last_chunk_the_state_is_gone() {
    let (_shelf, state) = large();
    let mut body = call(&state, "/?fence=1").await.into_body();
    let mut left = http_body::Body::size_hint(&body).exact().unwrap();
    while left > 0 {
        assert!(!state.fence().is_handed_over());
        let frame = body.frame().await.unwrap().unwrap();
        left -= frame.into_data().unwrap().len() as u64;
    }
    assert!(state.fence().is_handed_over());
    drop(body);
    assert!(state.fence().is_handed_over());

    assert!(state.fence().resume());
    assert!(!state.fence().resume());
    assert!(state.fence().enter().is_ok());
    // Beyond what was given away, so that what was given away is older.
    assert_eq!(state.generation(), 2);
}

#[cfg(feature = "compression")]
#[tokio::test]
async fn compressed_the_state_is_gone_with_the_last_chunk_too() {
    use std::io::Read as _;

    // What does not compress to one chunk.
    let mut random = 1_u64;
    let mut letter = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'a' + (random >> 60) as u8)
    };
    let item: String = (0..500_000).map(|_| letter()).collect();
    let state = shop(&Shelf::new("shelf", &[&item]));
    let mut request = request("GET", "/?fence=1");
    let gzip = http::HeaderValue::from_static("gzip");
    request.headers_mut().insert("accept-encoding", gzip);
    let Ok(response) = state.service().oneshot(request).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(response.headers()["vary"], "accept-encoding");
    assert!(!response.headers().contains_key("content-length"));
    let mut body = response.into_body();
    let (mut sent, mut frames) = (Vec::new(), 0);
    while !http_body::Body::is_end_stream(&body) {
        assert!(!state.fence().is_handed_over());
        let frame = body.frame().await.unwrap().unwrap();
        sent.extend(frame.into_data().unwrap());
        frames += 1;
    }
    assert!(frames > 2, "{frames}");
    assert!(state.fence().is_handed_over());
    let mut envelope = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&*sent);
    decoder.read_to_end(&mut envelope).unwrap();
    assert!(envelope.starts_with(b"{\"format\":\"tower-ops-state\""));
    assert!(envelope.ends_with(b"}}\n"));
}

async fn served(
    method: &str,
    state: &State,
) -> Response<tower_ops_state::ResponseBody<Full<Bytes>>> {
    let inner = service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
    });
    let mut service = state.fence().layer().layer(inner);
    let Ok(ready) = service.ready().await;
    let Ok(response) = ready.call(request(method, "/")).await;
    response
}

#[tokio::test]
async fn the_layer_refuses_writes_and_lets_reads_pass() {
    let state = shop(&Shelf::new("shelf", &["a"]));
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(served(method, &state).await.status(), 200);
    }
    hand_over(&state).await;
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let response = served(method, &state).await;
        assert_eq!(response.status(), 503, "{method}");
        assert_eq!(response.headers()["retry-after"], "1");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert!(text.starts_with(b"{\"error\":\"the state is being handed over"));
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        let response = served(method, &state).await;
        assert_eq!(response.status(), 200, "{method}");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, "done");
    }
}

#[tokio::test]
async fn the_layer_refuses_a_call_in_the_protocol_of_its_caller() {
    let state = shop(&Shelf::new("shelf", &["a"]));
    hand_over(&state).await;
    let inner = service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
    });
    let service = state.fence().layer().layer(inner);
    for content_type in [
        "application/grpc",
        "application/grpc-web",
        "application/grpc-web-text",
    ] {
        let call = Request::post("/shop.Orders/Add").header("content-type", content_type);
        let call = call.body(Empty::new()).unwrap();
        let Ok(response) = service.clone().oneshot(call).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["content-type"], content_type);
        let body = response.into_body().collect().await.unwrap();
        assert!(body.to_bytes().is_empty());
    }
}

#[tokio::test]
async fn a_request_writes_until_its_response_is_there_or_it_is_dropped() {
    for is_dropped in [false, true] {
        let state = shop(&Shelf::new("shelf", &["a"]));
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let mut receiver = Some(receiver);
        let inner = service_fn(move |_: Request<Empty<Bytes>>| {
            let receiver = receiver.take();
            async move {
                if let Some(receiver) = receiver {
                    let _ = receiver.await;
                }
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
            }
        });
        let mut service = state.fence().layer().layer(inner);
        let Ok(ready) = service.ready().await;
        let writing = ready.call(request("POST", "/"));
        let of = state.clone();
        let taking = tokio::spawn(async move { hand_over(&of).await });
        eventually(async || state.fence().is_closed()).await;
        assert!(!taking.is_finished());
        if is_dropped {
            drop(writing);
        } else {
            sender.send(()).unwrap();
            let Ok(response) = writing.await;
            assert_eq!(response.status(), 200);
        }
        taking.await.unwrap();
    }
}
