//! The memory bound, held under a million requests and ten thousand routes.
//!
//! A file with one test: what others allocate meanwhile would be counted as well.

use std::alloc::System;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, Route};
use tower_ops_requests::RequestTracker;
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::poll;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 1_000_000;
const ROUTES: usize = 10_000;
const THREADS: usize = 4;

/// A router that makes routes of what clients send, which is what the bounds are for.
struct Routes(Vec<Route>);

impl Observe for Routes {
    type Exchange = ();

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) {
        let number = *request.extensions().get::<usize>().expect("its number");
        facts.set_route(self.0[number % ROUTES].clone());
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

#[test]
fn a_million_requests_of_ten_thousand_routes_stay_within_the_bound() {
    let routes = || {
        Routes(
            (0..ROUTES)
                .map(|n| Route::from(Arc::from(format!("/routes/{n}"))))
                .collect(),
        )
    };
    let builder = RequestTracker::builder();
    let bound = builder.memory_bound();
    // Stated in the README for the defaults, by the megabyte, on a machine of up to 4 processors.
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() <= 4) {
        assert!(bound < 12_000_000, "{bound}");
    }

    let routes = Arc::new(routes());
    let region = Region::new(ALLOCATOR);
    let tracker = builder.build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let layer = ObserveLayer::new((Arc::clone(&routes), tracker.clone()));
            scope.spawn(move || {
                let mut service = layer.layer(service_fn(|_: Request<()>| {
                    let body = ScriptedBody::new().end_stream_flag(true);
                    std::future::ready(Ok::<_, Infallible>(Response::new(body)))
                }));
                for n in 0..REQUESTS / THREADS {
                    let mut request = Request::new(());
                    request.extensions_mut().insert(n * THREADS + thread);
                    assert!(poll(&mut service.call(request)).is_ready());
                }
            });
        }
    });
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    assert!(held <= bound, "{held} bytes are held, {bound} were stated");
    // A bound that is far too large would always hold.
    assert!(
        bound <= 4 * held,
        "{held} bytes are held, {bound} were stated"
    );

    let stats = tracker.stats();
    assert_eq!(stats.total(), REQUESTS as u64);
    assert_eq!(stats.routes.len(), 257);
    assert_eq!(stats.routes[0].route, "{other}");
    assert_eq!(tracker.history().len(), 1_000);
}
