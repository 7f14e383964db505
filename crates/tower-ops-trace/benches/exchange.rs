//! What the span of an exchange costs where nobody listens: allocations by itself, and instructions
//! under callgrind. Take the difference of two runs, such as 1,000 and 3,000 exchanges.
//!
//! ```sh
//! cargo bench -p tower-ops-trace --bench exchange
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*one_exchange*' \
//!   target/release/deps/exchange-* spans 3000
//! ```
//!
//! `bare` has an observer that looks at how the exchange ends, as metrics do; `spans` has a span as
//! well. With `_parent`, the caller sends a `traceparent`.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has to fail"
)]
#![allow(clippy::print_stdout, reason = "its result")]

use std::alloc::System;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use http_body_util::{Empty, Full};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, Route};
use tower_ops_trace::Spans;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Knows what a router knows, and reads what metrics read.
struct Others;

impl Observe for Others {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        facts.set_route(Route::from_static("/users/{id}"));
    }

    fn on_end(&self, (): &mut (), ending: &Ending<'_>, facts: &Facts) {
        black_box((ending, facts));
    }
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let scenario = args.next();
    let count = args.next().map_or(1_000, |count| count.parse().unwrap());
    if let Some(scenario) = scenario {
        run(&scenario, count);
        return;
    }
    for (scenario, bare) in [("spans", "bare"), ("spans_parent", "bare_parent")] {
        let over = run(scenario, count) - run(bare, count);
        println!("{scenario}: {over:.2} allocations over {bare}");
    }
}

/// Returns the allocations of one exchange.
fn run(scenario: &str, count: usize) -> f64 {
    let parent = scenario.ends_with("_parent").then_some(PARENT);
    match scenario.trim_end_matches("_parent") {
        "bare" => exchanges((Others, ()), parent, count),
        "spans" => exchanges((Others, Spans::new()), parent, count),
        other => panic!("unknown scenario {other}"),
    }
}

fn exchanges<O: Observe>(observers: O, parent: Option<&'static str>, count: usize) -> f64 {
    let inner = |_: Request<Empty<Bytes>>| -> Ready<Result<_, Infallible>> {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    };
    let mut service = ObserveLayer::new(observers).layer(service_fn(inner));
    let request = || {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from_static("/users/7");
        let headers = request.headers_mut();
        for (name, value) in [
            ("host", "a.example"),
            ("user-agent", "curl/8"),
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("x-forwarded-for", "192.0.2.7"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(parent) = parent {
            headers.insert("traceparent", HeaderValue::from_static(parent));
        }
        request
    };
    for _ in 0..50 {
        warm_up(&mut service, request());
    }
    let mut allocations = 0;
    for _ in 0..count {
        let request = request();
        let region = Region::new(ALLOCATOR);
        one_exchange(&mut service, request);
        allocations += region.change().allocations;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = allocations as f64 / count as f64;
    each
}

#[inline(never)]
fn one_exchange<S, B>(service: &mut S, request: Request<Empty<Bytes>>)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    exchange(service, request);
}

#[inline(never)]
fn warm_up<S, B>(service: &mut S, request: Request<Empty<Bytes>>)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    // Differs, so that the compiler does not make one of both.
    black_box(0);
    exchange(service, request);
}

#[inline(always)]
fn exchange<S, B>(service: &mut S, request: Request<Empty<Bytes>>)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
        panic!("the service is ready at once");
    };
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
        drop(black_box(frame));
    }
}
