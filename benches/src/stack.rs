use tokio::runtime::Runtime;

use crate::{Workload, accept_loops, ours, peers};

/// One row of the comparison: a name, what it is compared against, and how it is built.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stack {
    /// What the command line calls it.
    pub name: &'static str,
    /// What the table calls it.
    pub title: &'static str,
    /// The name of the stack that it adds to, or its own if it adds to nothing.
    pub base: &'static str,
    /// How many times its instructions have to be counted: 3, and the median taken, where maps are
    /// seeded at random, else 1.
    pub counts: usize,
    /// What it may add to its base, if that is held.
    pub bound: Option<Bound>,
    build: fn() -> Workload,
}

/// What a stack may add to its base for each request.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Bound {
    /// Instructions, as callgrind counts them.
    pub instructions: i64,
    /// Calls to the allocator.
    pub allocations: f64,
}

impl Stack {
    const fn new(name: &'static str, title: &'static str, build: fn() -> Workload) -> Self {
        Self {
            name,
            title,
            base: "identity",
            counts: 1,
            bound: None,
            build,
        }
    }

    const fn over(self, base: &'static str) -> Self {
        Self { base, ..self }
    }

    const fn seeded_at_random(self) -> Self {
        Self { counts: 3, ..self }
    }

    const fn at_most(self, instructions: i64, allocations: f64) -> Self {
        let bound = Some(Bound {
            instructions,
            allocations,
        });
        Self { bound, ..self }
    }

    /// The stack of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        STACKS.iter().find(|stack| stack.name == name)
    }

    /// Builds the stack, with what it spawns on `runtime`. Only one a process: some install a global
    /// recorder or subscriber.
    ///
    /// # Panics
    ///
    /// Panics for a second stack with a global of the same kind.
    #[must_use]
    pub fn build(&self, runtime: &Runtime) -> Workload {
        let _guard = runtime.enter();
        (self.build)()
    }
}

/// Every stack, in the order of the table.
pub const STACKS: &[Stack] = &[
    Stack::new("bare", "bare router", Workload::bare).over("bare"),
    Stack::new("identity", "identity layer", peers::identity).over("bare"),
    Stack::new("identity-inbound", "identity layer, an id comes in", || {
        peers::identity().with_inbound_id()
    })
    .over("bare"),
    Stack::new(
        "request-id-pair",
        "tower-http request-id pair",
        peers::request_id_pair,
    ),
    Stack::new(
        "trace",
        "tower-http TraceLayer, no subscriber",
        peers::trace,
    ),
    Stack::new(
        "trace-json",
        "tower-http TraceLayer, JSON at INFO",
        peers::trace_json,
    ),
    Stack::new("prometheus", "axum-prometheus", peers::prometheus).seeded_at_random(),
    Stack::new(
        "otel",
        "opentelemetry-instrumentation-tower, no-op providers",
        peers::otel,
    ),
    Stack::new(
        "otel-metrics",
        "opentelemetry-instrumentation-tower, SDK metrics",
        peers::otel_metrics,
    )
    .seeded_at_random(),
    Stack::new("peers", "peers' whole stack, no subscriber", peers::whole).seeded_at_random(),
    Stack::new(
        "peers-json",
        "peers' whole stack, JSON at INFO",
        peers::whole_json,
    )
    .seeded_at_random(),
    Stack::new(
        "ours-request-id",
        "**tower-ops** request id",
        ours::request_id,
    ),
    Stack::new("ours-metrics", "**tower-ops** metrics", ours::metrics),
    Stack::new(
        "ours-trace",
        "**tower-ops** trace, no subscriber",
        ours::trace,
    ),
    Stack::new(
        "ours-requests",
        "**tower-ops** request tracking",
        ours::requests,
    ),
    Stack::new(
        "ours-without-requests",
        "**tower-ops** bundle without request tracking",
        ours::without_requests,
    ),
    Stack::new("ours", "**tower-ops** bundle", ours::bundle).at_most(6_100, 1.3),
    Stack::new(
        "ours-inbound",
        "**tower-ops** bundle, an id comes in",
        || ours::bundle().with_inbound_id(),
    )
    .over("identity-inbound")
    .at_most(6_100, 1.3),
    Stack::new(
        "ours-whole",
        "**tower-ops** bundle, timeout, catch-panic",
        ours::whole,
    ),
    Stack::new(
        "ours-whole-json",
        "**tower-ops** bundle, timeout, catch-panic, JSON at INFO",
        ours::whole_json,
    ),
    Stack::new(
        "ours-around",
        "**tower-ops** bundle around the router",
        ours::around,
    )
    .over("bare")
    .at_most(5_950, 0.3),
    Stack::new(
        "ours-around-without-requests",
        "**tower-ops** bundle without request tracking, around the router",
        ours::around_without_requests,
    )
    .over("bare"),
    Stack::new(
        "ours-around-hook",
        "**tower-ops** bundle around the router, route by hook",
        ours::around_with_hook,
    ),
    Stack::new(
        "loop",
        "HTTP/1 connection, hyper-util's loop",
        accept_loops::bare,
    )
    .over("loop"),
    Stack::new(
        "loop-tracked",
        "HTTP/1 connection, hyper-util's loop, **tower-ops** tracking",
        accept_loops::tracked,
    )
    .over("loop")
    .at_most(1_200, 0.0),
    Stack::new(
        "loop-server",
        "HTTP/1 connection, **tower-ops** server",
        accept_loops::server,
    )
    .over("loop")
    .at_most(1_250, 0.0),
];
