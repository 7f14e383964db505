//! What a line costs the thread that logs it: `crates/tower-ops-logs/benches/instructions.sh`, which runs this
//! under callgrind and counts the instructions of `measured` alone.
//!
//! Everything is logged within an exchange that has a request id and trace ids, in a span as
//! tower-ops-trace makes it, as JSON, and thrown away by the thread that writes.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints"
)]

use std::alloc::System;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};
use tower_ops_logs::{Format, Logs};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, TraceIds};
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM_UP: usize = 2_000;

const CASES: [(&str, fn()); 6] = [
    ("nothing", || ()),
    ("debug! that is not wanted", || {
        tracing::debug!(user = black_box(7), "user loaded")
    }),
    ("info! with a message", || tracing::info!("user loaded")),
    ("info! with two fields", || {
        tracing::info!(
            user = black_box(7),
            basket = black_box("empty"),
            "user loaded"
        );
    }),
    ("a span with two fields", || {
        let span = tracing::info_span!("load", user = black_box(7), basket = black_box("empty"));
        let _entered = span.enter();
    }),
    ("an access event", || {
        let ids = TraceIds::new(black_box(7), 7, 1).unwrap();
        tracing::info!(
            target: "tower_ops::access",
            parent: None,
            request_id = black_box("0e37df36-f698-11e6-8dd4-cb9ced3df976"),
            trace_id = ids.trace_id_hex().as_str(),
            span_id = ids.span_id_hex().as_str(),
            trace_flags = ids.flags_hex().as_str(),
            method = "GET",
            route = black_box("/users/{id}"),
            status = black_box(200),
            outcome = "completed",
            duration_ms = black_box(1.25),
            ttfb_ms = black_box(1.0),
            bytes_in = 0,
            bytes_out = black_box(11),
            peer = black_box(Some("127.0.0.1:4711")),
            "request"
        );
    }),
];

struct Ids;

impl Observe for Ids {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        let id = HeaderValue::from_static("0e37df36-f698-11e6-8dd4-cb9ced3df976");
        facts.set_request_id(id);
        facts.set_trace_ids(TraceIds::new(0x4bf9_2f35_77b3_4da6, 0xf067, 1).unwrap());
    }

    fn on_end(&self, _: &mut (), _: &Ending<'_>, _: &Facts) {}
}

/// Differs from how the warm-up calls, so that the compiler does not make one of both.
#[inline(never)]
fn measured(case: fn()) {
    black_box(0);
    case();
}

fn in_exchange(run: impl FnOnce() + Copy) {
    let handler = |_: Request<String>| -> Ready<Result<Response<String>, Infallible>> {
        let span = tracing::info_span!(
            "request",
            http.request.method = "GET",
            url.scheme = "http",
            http.route = "/users/{id}"
        );
        let _entered = span.enter();
        run();
        ready(Ok(Response::new(String::new())))
    };
    let mut service = ObserveLayer::new(Ids).layer(service_fn(handler));
    let answer = pin!(service.call(Request::new(String::new())));
    let Poll::Ready(_) = answer.poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("it is ready at once");
    };
}

fn main() {
    // `cargo test --benches` passes no case.
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let case = numbers.next().and_then(|number| CASES.get(number));
    let (Some(&(name, case)), Some(lines)) = (case, numbers.next()) else {
        return;
    };
    let logs = Logs::builder().environment(false).format(Format::Json);
    let logs = logs
        .queue(64 << 20)
        .writer(std::io::sink())
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(logs.layer());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    // In turns, so that the thread takes what there is, and no buffer grows.
    let turns = |turns: usize, run: fn(fn())| {
        for _ in 0..turns / 100 {
            in_exchange(|| (0..100).for_each(|_| run(case)));
            assert!(logs.flush(Duration::from_secs(60)));
        }
    };
    turns(WARM_UP, |case| case());
    let region = Region::new(ALLOCATOR);
    turns(lines, measured);
    let allocations = region.change().allocations;
    println!("{name}|{}", allocations as f64 / lines as f64);
}
