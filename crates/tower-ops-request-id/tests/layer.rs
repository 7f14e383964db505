//! Where the id can be seen, and for how long.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::sync::{Barrier, Notify};
use tokio::task::yield_now;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_ops_request_id::{RequestId, RequestIdClientLayer, RequestIdLayer, spawn};
use tower_ops_testing::Readied;
use tracing::field::{Empty, Field, Visit};
use tracing::span::{Id, Record};
use tracing::{Instrument, Subscriber};
use tracing_subscriber::layer::{Context as SpanContext, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

fn id(text: &str) -> RequestId {
    text.parse().unwrap()
}

fn current() -> String {
    RequestId::current().map_or_else(|| "none".to_owned(), |id| id.to_string())
}

fn request(id: &str) -> Request<()> {
    let request = Request::builder().header("x-request-id", id);
    request.body(()).unwrap()
}

fn header<B>(response: &Response<B>) -> &str {
    response.headers()["x-request-id"].to_str().unwrap()
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A body of which every frame, and then its drop, tells the current id.
struct Telling {
    steps: usize,
    dropped: Log,
}

impl Telling {
    fn new(frames: usize, dropped: &Log) -> Self {
        Self {
            steps: frames * 2,
            dropped: dropped.clone(),
        }
    }
}

impl Body for Telling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.steps == 0 {
            return Poll::Ready(None);
        }
        self.steps -= 1;
        // Every other poll is pending, so that others get their turn in between.
        if self.steps % 2 == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(current() + " ")))))
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.dropped.tell();
    }
}

/// What was current at the moments that somebody told.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn tell(&self) {
        self.0.lock().unwrap().push(current());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn on_drop(&self) -> TellOnDrop {
        TellOnDrop(self.clone())
    }
}

struct TellOnDrop(Log);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        self.0.tell();
    }
}

/// Collects every value that is recorded for a field `request_id`.
#[derive(Clone, Default)]
struct SpanIds(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for SpanIds {
    fn on_record(&self, span: &Id, values: &Record<'_>, cx: SpanContext<'_, S>) {
        let name = cx.span(span).unwrap().name();
        values.record(&mut Found(name, &self.0));
    }
}

struct Found<'a>(&'static str, &'a Mutex<Vec<String>>);

impl Visit for Found<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let found = format!("{} {}={value}", self.0, field.name());
        self.1.lock().unwrap().push(found);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {
        panic!("the id is recorded as a string");
    }
}

/// Answers with all that a handler can find out about the id, a word each.
async fn everything(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut words = vec![current()];
    yield_now().await;
    words.push(current());
    words.push(spawn(async { current() }).await.unwrap());
    words.push(request.extensions().get::<RequestId>().unwrap().to_string());
    words.push(RequestId::extract(request.headers()).unwrap().to_string());
    let callee = |request: Request<()>| {
        let sent = RequestId::extract(request.headers()).unwrap().to_string();
        ready(Ok::<_, Infallible>(sent))
    };
    let client = RequestIdClientLayer::new().layer(Readied::from_fn(callee));
    words.push(client.oneshot(Request::new(())).await?);
    Ok(Response::new(Full::from(words.join(" "))))
}

#[tokio::test]
async fn everyone_sees_the_same_id() {
    let ids = SpanIds::default();
    let _subscriber = tracing::subscriber::set_default(Registry::default().with(ids.clone()));
    for request in [request("order-7"), Request::new(())] {
        let sent = RequestId::extract(request.headers());
        let layer = RequestIdLayer::new().with_extension();
        let service = layer.layer(Readied::from_fn(everything));
        let span = tracing::info_span!("outer", request_id = Empty);
        let Ok(response) = service.oneshot(request).instrument(span).await;

        let answered = header(&response).to_owned();
        let Ok(seen) = response.into_body().collect().await;
        let seen = String::from_utf8(seen.to_bytes().into()).unwrap();
        assert_eq!(seen, [&*answered; 6].join(" "));
        let recorded = std::mem::take(&mut *ids.0.lock().unwrap());
        assert_eq!(recorded, [format!("outer request_id={answered}")]);
        if let Some(sent) = sent {
            assert_eq!(answered, sent.as_str());
        }
    }
    assert_eq!(current(), "none");
}

#[tokio::test]
async fn a_span_without_the_field_is_left_alone() {
    let ids = SpanIds::default();
    let _subscriber = tracing::subscriber::set_default(Registry::default().with(ids.clone()));
    let layer = RequestIdLayer::new().with_extension();
    let service = layer.layer(Readied::from_fn(everything));
    let span = tracing::info_span!("outer", other = Empty);
    let Ok(_) = service.oneshot(request("order-7")).instrument(span).await;
    assert_eq!(*ids.0.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_plainly_spawned_task_has_no_id() {
    let seen = id("order-7").scope(async {
        let spawned = tokio::spawn(async { current() }).await.unwrap();
        let blocking = tokio::task::spawn_blocking(current).await.unwrap();
        (spawned, blocking, current())
    });
    let none = || "none".to_owned();
    assert_eq!(seen.await, (none(), none(), "order-7".to_owned()));
}

#[tokio::test]
async fn a_spawned_task_keeps_the_id_after_its_exchange_is_over() {
    let go = Arc::new(Notify::new());
    let log = Log::default();
    let handler = {
        let (go, log) = (go.clone(), log.clone());
        move |_: Request<()>| {
            let (go, log) = (go.clone(), log.clone());
            let task = spawn(async move {
                go.notified().await;
                log.tell();
                spawn(async move { log.tell() }).await.unwrap();
            });
            let mut response = Response::new(Full::<Bytes>::default());
            response.extensions_mut().insert(Arc::new(task));
            ready(Ok::<_, Infallible>(response))
        }
    };
    let service = RequestIdLayer::new().layer(Readied::from_fn(handler));
    let Ok(mut response) = service.oneshot(request("order-7")).await;
    let task = response.extensions_mut().remove::<Arc<_>>().unwrap();
    drop(response);
    go.notify_one();
    Arc::<tokio::task::JoinHandle<()>>::into_inner(task)
        .unwrap()
        .await
        .unwrap();
    assert_eq!(log.take(), ["order-7"; 2]);
}

#[tokio::test]
async fn spawning_outside_of_a_request_runs_without_an_id() {
    assert_eq!(spawn(async { current() }).await.unwrap(), "none");
}

#[tokio::test]
async fn an_aborted_task_is_dropped_with_its_id() {
    let log = Log::default();
    let guard = log.on_drop();
    let mut task = None;
    let scoped = async {
        task = Some(spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        }));
    };
    id("order-7").scope(scoped).await;
    let task = task.unwrap();
    yield_now().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(log.take(), ["order-7"]);
}

#[test]
fn a_scope_covers_the_drop_of_its_future() {
    let log = Log::default();
    for polled in [false, true] {
        let guard = log.on_drop();
        let scoped = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        let mut scoped = Box::pin(id("order-7").scope(scoped));
        if polled {
            assert!(poll(scoped.as_mut()).is_pending());
        }
        drop(scoped);
        assert_eq!(log.take(), ["order-7"], "polled: {polled}");
        assert_eq!(current(), "none");
    }
}

#[tokio::test]
async fn the_id_is_current_in_every_poll_of_the_body() {
    let log = Log::default();
    let dropped = log.clone();
    let service = RequestIdLayer::new().layer(Readied::from_fn(move |_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(Telling::new(
            3, &dropped,
        ))))
    }));
    let Ok(response) = service.oneshot(request("order-7")).await;
    assert_eq!(current(), "none", "between the head and the body");
    let Ok(body) = response.into_body().collect().await;
    assert_eq!(body.to_bytes(), "order-7 order-7 order-7 ");
    assert_eq!(current(), "none");
}

#[tokio::test]
async fn the_id_is_current_in_the_drop_of_a_cut_body() {
    for frames in [0, 1] {
        let log = Log::default();
        let dropped = log.clone();
        let service = RequestIdLayer::new().layer(Readied::from_fn(move |_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::new(Telling::new(
                3, &dropped,
            ))))
        }));
        let Ok(mut response) = service.oneshot(request("order-7")).await;
        for _ in 0..frames {
            let Ok(_) = response.body_mut().frame().await.unwrap();
        }
        drop(response);
        assert_eq!(log.take(), ["order-7"]);
    }
}

#[test]
fn the_id_is_current_in_the_drop_of_a_cancelled_handler() {
    let log = Log::default();
    for polls in [0, 1, 2] {
        let log = log.clone();
        let told = log.clone();
        let mut service = RequestIdLayer::new().layer(Readied::from_fn(move |_: Request<()>| {
            let guard = log.on_drop();
            async move {
                let _guard = guard;
                pending::<Result<Response<Full<Bytes>>, Infallible>>().await
            }
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_ready());
        let mut future = Box::pin(service.call(request("order-7")));
        for _ in 0..polls {
            assert!(poll(future.as_mut()).is_pending());
        }
        drop(future);
        assert_eq!(told.take(), ["order-7"], "after {polls} polls");
        assert_eq!(current(), "none");
    }
}

#[test]
fn the_id_is_current_in_the_call_itself() {
    let log = Log::default();
    let told = log.clone();
    let service = RequestIdLayer::new().layer(service_fn(move |_: Request<()>| {
        log.tell();
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    }));
    assert!(poll(pin!(service.oneshot(request("order-7")))).is_ready());
    assert_eq!(told.take(), ["order-7"]);
}

#[test]
fn a_panic_restores_the_id_around_it() {
    type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;
    let in_call = RequestIdLayer::new().layer(service_fn(|_: Request<()>| -> Answer {
        panic!("in the call");
    }));
    let in_future = RequestIdLayer::new().layer(service_fn(|_: Request<()>| async {
        if RequestId::current().is_some() {
            panic!("in the future");
        }
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let panics = |future: Pin<&mut dyn Future<Output = ()>>| {
        assert!(catch_unwind(AssertUnwindSafe(|| poll(future))).is_err());
    };
    let around = id("around").scope(async {
        panics(pin!(async { drop(in_call.oneshot(request("one")).await) }));
        let after_call = current();
        panics(pin!(async {
            drop(in_future.oneshot(request("two")).await)
        }));
        (after_call, current())
    });
    let around = poll(pin!(around));
    let expected = ("around".to_owned(), "around".to_owned());
    assert_eq!(around, Poll::Ready(expected));
    assert_eq!(current(), "none");

    let scoped = id("scoped").scope(async { panic!("in the scope") });
    panics(pin!(scoped));
    assert_eq!(current(), "none");
}

#[test]
fn a_panic_in_the_body_restores_the_id_around_it() {
    let service = RequestIdLayer::new().layer(service_fn(|_: Request<()>| {
        let body = tower_ops_testing::ScriptedBody::new().data("ab").panic();
        ready(Ok::<_, Infallible>(Response::new(body)))
    }));
    let Poll::Ready(Ok(mut response)) = poll(pin!(service.oneshot(request("one")))) else {
        panic!("answers at once");
    };
    assert!(poll(pin!(response.body_mut().frame())).is_ready());
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        poll(pin!(response.body_mut().frame())).is_ready()
    }));
    assert!(unwound.is_err());
    assert_eq!(current(), "none");
    drop(response);
    assert_eq!(current(), "none");
}

#[tokio::test]
async fn scopes_nest() {
    let seen = id("outer").scope(async {
        let mut seen = vec![current()];
        let inner = id("inner").scope(async {
            let before = current();
            yield_now().await;
            [before, current()]
        });
        seen.extend(inner.await);
        seen.push(current());
        seen
    });
    assert_eq!(seen.await, ["outer", "inner", "inner", "outer"]);
    assert_eq!(current(), "none");
}

#[tokio::test]
async fn an_exchange_inside_of_an_exchange_has_its_own_id() {
    // As a service that calls itself in memory does.
    let callee = |_: Request<()>| async {
        yield_now().await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(current())))
    };
    let caller = move |_: Request<()>| async move {
        let before = current();
        let inner = RequestIdLayer::new().layer(service_fn(callee));
        let Ok(answer) = inner.oneshot(request("inner")).await;
        let Ok(answer) = answer.into_body().collect().await;
        let answer = String::from_utf8(answer.to_bytes().into()).unwrap();
        let all = format!("{before} {answer} {}", current());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(all)))
    };
    let service = RequestIdLayer::new().layer(service_fn(caller));
    let Ok(response) = service.oneshot(request("outer")).await;
    assert_eq!(header(&response), "outer");
    let Ok(body) = response.into_body().collect().await;
    assert_eq!(body.to_bytes(), "outer inner outer");
}

#[tokio::test]
async fn interleaved_exchanges_on_one_thread_keep_their_own() {
    let service = RequestIdLayer::new().layer(service_fn(|_: Request<()>| async {
        let log = Log::default();
        for _ in 0..5 {
            log.tell();
            yield_now().await;
        }
        let mut response = Response::new(Telling::new(5, &log));
        let seen = log.take().join(" ");
        let seen = HeaderValue::from_str(&seen).unwrap();
        response.headers_mut().insert("x-seen", seen);
        Ok::<_, Infallible>(response)
    }));
    let exchange = async |id: &str| {
        let Ok(response) = service.clone().oneshot(request(id)).await;
        let five = [id; 5].join(" ");
        assert_eq!(response.headers()["x-seen"], five);
        assert_eq!(header(&response), id);
        let Ok(body) = response.into_body().collect().await;
        assert_eq!(body.to_bytes(), five + " ");
    };
    tokio::join!(exchange("a"), exchange("b"), exchange("c"));
    assert_eq!(current(), "none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_requests_at_once_each_see_their_own() {
    const REQUESTS: usize = 1_000;
    let all_here = Arc::new(Barrier::new(REQUESTS));
    let service = RequestIdLayer::new().layer(service_fn(move |_: Request<()>| {
        let all_here = all_here.clone();
        async move {
            let before = current();
            all_here.wait().await;
            let after = current();
            let spawned = spawn(async {
                yield_now().await;
                current()
            });
            let spawned = spawned.await.unwrap();
            let mut response = Response::new(Telling::new(3, &Log::default()));
            let seen = HeaderValue::from_str(&format!("{before} {after} {spawned}")).unwrap();
            response.headers_mut().insert("x-seen", seen);
            Ok::<_, Infallible>(response)
        }
    }));
    let exchanges: Vec<_> = (0..REQUESTS)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move {
                let id = format!("request-{n}");
                let Ok(response) = service.oneshot(request(&id)).await;
                assert_eq!(header(&response), id);
                let three = [&*id; 3].join(" ");
                assert_eq!(response.headers()["x-seen"], three);
                let Ok(body) = response.into_body().collect().await;
                assert_eq!(body.to_bytes(), three + " ");
            })
        })
        .collect();
    for exchange in exchanges {
        exchange.await.unwrap();
    }
}

#[tokio::test]
async fn the_response_carries_the_id_in_place_of_what_the_handler_said() {
    let service = RequestIdLayer::new().layer(Readied::from_fn(|_: Request<()>| {
        let response = Response::builder()
            .status(StatusCode::IM_A_TEAPOT)
            .header("x-request-id", "from upstream")
            .header("x-request-id", "twice")
            .header("x-other", "kept");
        ready(Ok::<_, Infallible>(
            response.body(Full::<Bytes>::default()).unwrap(),
        ))
    }));
    let Ok(response) = service.oneshot(request("order-7")).await;
    let ids: Vec<_> = response.headers().get_all("x-request-id").iter().collect();
    assert_eq!(ids, ["order-7"]);
    assert_eq!(response.headers()["x-other"], "kept");
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
}

#[tokio::test]
async fn an_error_of_the_service_passes_through() {
    #[derive(Debug, PartialEq)]
    struct NoError;
    let service = RequestIdLayer::new().layer(Readied::from_fn(|_: Request<()>| {
        ready(Err::<Response<Full<Bytes>>, _>(NoError))
    }));
    let error = service.oneshot(request("order-7")).await.unwrap_err();
    assert_eq!(error, NoError);
    assert_eq!(current(), "none");
}

#[tokio::test]
async fn the_layer_waits_for_readiness_and_calls_what_it_readied() {
    let service = RequestIdLayer::new()
        .with_extension()
        .layer(Readied::from_fn(everything).pending_readiness(2));
    let Ok(response) = service.oneshot(request("order-7")).await;
    assert_eq!(header(&response), "order-7");
}

#[tokio::test]
async fn the_client_layer_waits_for_readiness_and_calls_what_it_readied() {
    let service = Readied::from_fn(|request: Request<()>| ready(Ok::<_, Infallible>(request)));
    let client = RequestIdClientLayer::new().layer(service.pending_readiness(2));
    let Ok(sent) = client.oneshot(Request::new(())).await;
    assert!(sent.headers().is_empty(), "nothing outside of a request");
}

#[tokio::test]
async fn the_client_layer_keeps_an_id_that_is_there() {
    let client = ServiceBuilder::new()
        .layer(RequestIdClientLayer::default())
        .service_fn(|request: Request<()>| ready(Ok::<_, Infallible>(request)));
    let sent = id("order-7").scope(client.oneshot(request("own")));
    let Ok(sent) = sent.await;
    let ids: Vec<_> = sent.headers().get_all("x-request-id").iter().collect();
    assert_eq!(ids, ["own"]);
}

#[test]
fn what_goes_between_threads_can() {
    fn check<T: Send + Sync>() {}
    fn owned<T: Send + Sync + 'static>(_: &T) {}
    check::<RequestId>();
    check::<RequestIdLayer>();
    check::<RequestIdClientLayer>();
    owned(&id("order-7").scope(async {}));
    owned(
        &RequestIdLayer::new()
            .with_extension()
            .layer(service_fn(everything)),
    );
}
