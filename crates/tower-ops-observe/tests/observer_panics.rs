//! An observer that panics takes nothing from the others.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use http::{Request, Response};
use tower::{Layer, Service, service_fn};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, Outcome};
use tower_ops_testing::ScriptedBody;

#[path = "support/record.rs"]
mod record;
use record::{Recorder, drain, poll};

#[derive(Clone, Copy, PartialEq)]
enum At {
    Request,
    Response,
    Data,
    End,
}

/// Panics at one of its steps.
struct Panics(At);

impl Panics {
    fn at(&self, at: At) {
        assert!(self.0 != at, "planned");
    }
}

impl Observe for Panics {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) {
        self.at(At::Request);
    }

    fn on_response<B>(&self, (): &mut (), _: &mut Response<B>, _: &mut Facts) {
        self.at(At::Response);
    }

    fn on_data(&self, (): &mut (), _: usize) {
        self.at(At::Data);
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {
        self.at(At::End);
    }
}

/// Counts exchanges up and down, as a gauge does.
#[derive(Clone, Default)]
struct Gauge {
    level: Arc<AtomicI64>,
    ends: Arc<AtomicUsize>,
}

impl Observe for Gauge {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) {
        self.level.fetch_add(1, Ordering::Relaxed);
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {
        self.level.fetch_sub(1, Ordering::Relaxed);
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

/// One exchange, as a transport drives it. Whether it unwound.
fn unwinds<O: Observe>(observer: O) -> bool {
    let mut service = ObserveLayer::new(observer).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(ScriptedBody::new().data("ab")))
    }));
    catch_unwind(AssertUnwindSafe(|| {
        let mut future = Box::pin(service.call(Request::new(())));
        if let std::task::Poll::Ready(Ok(response)) = poll(&mut future) {
            drain(&mut response.into_body()).unwrap();
        }
    }))
    .is_err()
}

#[test]
fn every_member_gets_its_end_whichever_panics_at_it() {
    let gauges = [(); 3].map(|()| Gauge::default());
    let [a, b, c] = gauges.clone();
    let nested = (b, Panics(At::End));
    let observer = (Panics(At::End), a, nested, Panics(At::End), c);
    assert!(!unwinds(observer), "the request has no part in it");
    for gauge in gauges {
        assert_eq!(gauge.level.load(Ordering::Relaxed), 0);
        assert_eq!(gauge.ends.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn an_observer_that_panics_alone_at_the_end_leaves_the_request_alone() {
    assert!(!unwinds(Panics(At::End)));
}

#[test]
fn who_has_begun_gets_an_end_when_the_next_panics_at_the_beginning() {
    let gauges = [(); 4].map(|()| Gauge::default());
    let [a, b, c, d] = gauges.clone();
    let recorder = Recorder::new();
    let observer = ((a, b), Some(recorder.clone()), (c, Panics(At::Request)), d);
    assert!(unwinds(observer));
    let ends = gauges.map(|gauge| {
        assert_eq!(gauge.level.load(Ordering::Relaxed), 0);
        gauge.ends.load(Ordering::Relaxed)
    });
    assert_eq!(ends, [1, 1, 1, 0], "the last had not begun");
    assert_eq!(recorder.only().outcome, Outcome::Panicked);
}

#[test]
fn a_panic_at_the_response_or_its_data_ends_the_exchange_as_panicked() {
    for at in [At::Response, At::Data] {
        let (before, after) = (Recorder::new(), Recorder::new());
        assert!(unwinds((before.clone(), Panics(at), after.clone())));
        assert_eq!(before.only().outcome, Outcome::Panicked);
        assert_eq!(after.only().outcome, Outcome::Panicked);
    }
}
