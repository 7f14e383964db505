//! Prints what a stack allocates for one request: how often, a tab, and how many bytes.
//!
//! A binary of its own, because its allocator would slow down what the other one times.

use std::{
    alloc::System,
    io::{self, Write},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower_ops_benches::{Stack, Workload};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough for tables to have grown and for buckets to have been filled once.
const WARM_UP: usize = 10_000;
const REQUESTS: usize = 10_000;

fn main() -> io::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let stack = Stack::find(&name)
        .ok_or_else(|| io::Error::other("usage: tower-ops-bench-allocs STACK"))?;
    let runtime = Workload::runtime()?;
    let workload = stack.build(&runtime);
    let mut client = workload.client(runtime);

    client.run(WARM_UP);
    let region = Region::new(ALLOCATOR);
    client.run(REQUESTS);
    let change = region.change();
    let per_request = |total: usize| total as f64 / REQUESTS as f64;
    writeln!(
        io::stdout(),
        "{:.2}\t{:.0}",
        // A growing buffer is a trip to the allocator as well.
        per_request(change.allocations + change.reallocations),
        per_request(change.bytes_allocated),
    )
}
