//! In steady state a line allocates nothing, on any thread.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::alloc::System;
use std::time::Duration;

use http::HeaderValue;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower_ops_logs::{Format, Logs};
use tower_ops_observe::RequestIdScope;
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_line_allocates_nothing_and_a_span_one_box() {
    for format in Format::ALL {
        let logs = Logs::builder().environment(false).format(format);
        let logs = logs.writer(std::io::sink()).build().unwrap();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        let _default = tracing::subscriber::set_default(subscriber);
        let mut scope = RequestIdScope::new(Some(HeaderValue::from_static("an-id")));
        let lines = |number: u32| {
            let id = number / 2;
            tracing::info!(id, name = "a name", ratio = 0.5, debug = ?Some(id), "line {id}");
            tracing::warn!(target: "tower_ops::access", method = "GET", duration_ms = 1.5, "end");
        };
        let all = |counts: std::ops::Range<u32>| {
            for number in counts {
                lines(number);
            }
            assert!(logs.flush(Duration::from_secs(60)));
        };
        let allocations = scope.enter(|| {
            let span = tracing::info_span!("span", of_span = 7, later = tracing::field::Empty);
            let _entered = span.enter();
            // Both buffers of the queue grow.
            (0..4).for_each(|_| all(0..1_000));
            let region = Region::new(ALLOCATOR);
            (0..4).for_each(|_| all(0..1_000));
            let of_lines = region.change().allocations;
            let region = Region::new(ALLOCATOR);
            for number in 0..100 {
                let span = tracing::info_span!("span", number, later = tracing::field::Empty);
                span.record("later", "now");
                span.in_scope(|| lines(1));
            }
            (of_lines, region.change().allocations)
        });
        // For 8,000 lines; how many wait at once is not the same each time, and buffers grow to it.
        assert!(allocations.0 < 20, "{format}: {}", allocations.0);
        // The map of a span's extensions is kept by the registry, sooner or later.
        assert!(
            (100..=130).contains(&allocations.1),
            "{format}: {}",
            allocations.1
        );
    }
}
