//! What the span of an exchange costs over the exchange without it: allocations by itself, and
//! instructions under callgrind.
//!
//! ```sh
//! cargo bench -p tower-ops-otel --bench exchange -- allocations
//! valgrind --tool=callgrind --toggle-collect='*one_exchange*' target/release/deps/exchange-* sampled 1000
//! ```
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has to fail"
)]
#![allow(clippy::print_stdout, reason = "its result")]

use std::alloc::System;
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, Route};
use tower_ops_otel::Telemetry;
use tower_ops_trace::{ExchangeTracer, Spans};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";

/// What a router and a server know.
struct Known;

impl Observe for Known {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        facts.set_peer(([192, 0, 2, 1], 4_711).into());
        facts.set_route(Route::from_static("/users/{id}"));
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let what = args.next().unwrap_or_else(|| "allocations".to_owned());
    let count = args.next().map_or(1_000, |count| count.parse().unwrap());
    if what != "allocations" {
        run(&what, count);
        return;
    }
    let bare = run("bare", count);
    for scenario in [
        "sampled",
        "unsampled",
        "ratio",
        "bare_subscribed",
        "sampled_subscribed",
        "unsampled_subscribed",
    ] {
        println!(
            "{scenario}: {:.2} allocations over bare",
            run(scenario, count) - bare
        );
    }
}

/// Returns the allocations of one exchange.
fn run(scenario: &str, count: usize) -> f64 {
    let telemetry = Telemetry::builder("bench", "1")
        .environment_variables([("", "")])
        .endpoint("http://127.0.0.1:1")
        .sample_ratio(0.01)
        .set("OTEL_BSP_MAX_QUEUE_SIZE", "32768")
        .set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32768")
        .set("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .shutdown_timeout(Duration::from_millis(1))
        .start()
        .unwrap();
    let _subscriber = scenario.ends_with("_subscribed").then(|| {
        tracing_subscriber::registry()
            .with(telemetry.layer())
            .set_default()
    });
    let _registry = scenario
        .ends_with("_registry")
        .then(|| tracing_subscriber::registry().set_default());
    telemetry.check();
    let spans = Spans::new().with_sampling(telemetry.sampling());
    let flag = match scenario
        .trim_end_matches("_subscribed")
        .trim_end_matches("_registry")
    {
        "bare" | "sampled" => Some("1"),
        "unsampled" => Some("0"),
        "bare_root" | "ratio" => None,
        other => panic!("unknown scenario {other}"),
    };
    if scenario.starts_with("bare") {
        exchanges(spans, flag, count)
    } else {
        exchanges(spans.with_tracer(telemetry.tracer()), flag, count)
    }
}

fn exchanges<T: ExchangeTracer>(spans: Spans<T>, flag: Option<&str>, count: usize) -> f64 {
    let inner = tower::service_fn(|_: Request<Full<Bytes>>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(
            Bytes::from_static(b"hello"),
        ))))
    });
    let mut service = ObserveLayer::new((Known, spans)).layer(inner);
    let request = || {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = "/users/7?token=secret".parse().unwrap();
        if let Some(flag) = flag {
            let parent = format!("{PARENT}{flag}");
            request
                .headers_mut()
                .insert("traceparent", parent.parse().unwrap());
        }
        request
    };
    for _ in 0..50 {
        let request = request();
        warm_up(&mut service, request);
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
fn one_exchange<S, B>(service: &mut S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    exchange(service, request);
}

#[inline(never)]
fn warm_up<S, B>(service: &mut S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    exchange(service, request);
}

#[inline(always)]
fn exchange<S, B>(service: &mut S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
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
