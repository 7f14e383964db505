use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Wake, Waker};

use super::*;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, ScriptedError>>>;

fn poll(body: &mut ScriptedBody) -> Polled {
    poll_with(body, Waker::noop())
}

fn poll_with(body: &mut ScriptedBody, waker: &Waker) -> Polled {
    Pin::new(body).poll_frame(&mut Context::from_waker(waker))
}

fn data(polled: Polled) -> Bytes {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().expect("a data frame"),
        other => panic!("not a frame: {other:?}"),
    }
}

#[test]
fn steps_come_in_order() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let mut body = ScriptedBody::new()
        .data("ab")
        .pending()
        .data("c")
        .trailers(trailers.clone())
        .error("x");

    assert_eq!(data(poll(&mut body)), "ab");
    assert!(poll(&mut body).is_pending());
    assert_eq!(data(poll(&mut body)), "c");
    let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else {
        panic!("no trailers");
    };
    assert_eq!(frame.into_trailers().ok(), Some(trailers));
    let Poll::Ready(Some(Err(error))) = poll(&mut body) else {
        panic!("no error");
    };
    assert_eq!(error, ScriptedError::new("x"));
    assert_eq!(error.to_string(), "x");
    for _ in 0..2 {
        assert!(matches!(poll(&mut body), Poll::Ready(None)));
    }
}

#[test]
fn pending_wakes_once_and_a_stall_never() {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut body = ScriptedBody::new().pending().stalled().data("never");

    assert!(poll_with(&mut body, &waker).is_pending());
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    for _ in 0..3 {
        assert!(poll_with(&mut body, &waker).is_pending());
    }
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_is_a_step_like_any_other() {
    let mut body = ScriptedBody::new().panic().data("after");
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut body))).is_err());
    assert_eq!(data(poll(&mut body)), "after");
}

#[test]
fn the_end_stream_flag_turns_after_the_last_step() {
    let mut flagged = ScriptedBody::new().data("a").end_stream_flag(true);
    assert!(!flagged.is_end_stream());
    let _ = poll(&mut flagged);
    assert!(flagged.is_end_stream());

    let mut unflagged = ScriptedBody::new().data("a");
    let _ = poll(&mut unflagged);
    let _ = poll(&mut unflagged);
    assert!(!unflagged.is_end_stream());
}

#[test]
fn the_size_hint_is_what_remains() {
    let mut exact = ScriptedBody::new().data("ab").data("c").exact(3);
    assert_eq!(exact.size_hint().exact(), Some(3));
    let _ = poll(&mut exact);
    assert_eq!(exact.size_hint().exact(), Some(1));

    let mut at_least = ScriptedBody::new().data("ab").at_least(5);
    let _ = poll(&mut at_least);
    assert_eq!(at_least.size_hint().lower(), 3);
    assert_eq!(at_least.size_hint().upper(), None);

    let none = ScriptedBody::new().data("ab").size_hint();
    assert_eq!((none.lower(), none.upper()), (0, None));
}

#[test]
fn a_wrong_size_hint_does_not_wrap() {
    let mut body = ScriptedBody::new().data("abc").exact(1);
    let _ = poll(&mut body);
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[test]
fn the_default_is_empty() {
    assert!(matches!(
        poll(&mut ScriptedBody::default()),
        Poll::Ready(None)
    ));
}

#[tokio::test]
async fn the_probe_outlives_the_body() {
    let mut body = ScriptedBody::new().data("a");
    let probe = body.probe();
    let _ = poll(&mut body);
    let _ = poll(&mut body);
    assert_eq!(probe.polls(), 2);
    assert!(!probe.is_dropped());

    let waiting = tokio::spawn({
        let probe = probe.clone();
        async move { probe.dropped().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(body);
    waiting.await.unwrap();
    assert!(probe.is_dropped());
    assert_eq!(probe.polls(), 2);
}
