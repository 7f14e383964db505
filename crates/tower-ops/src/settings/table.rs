use tower_ops_admin::Secret;
use tower_ops_trace::{Inbound, Sampling};

use super::kind::{Kind, SwitchOrRatio};

/// What the variables of the environment begin with; the rest is the name in upper case.
pub(super) const PREFIX: &str = "TOWER_OPS_";

/// One setting: its name, how it is written, and what it does.
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As it would be written, or in words between brackets.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation"))]
    pub(super) default: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation"))]
    pub(super) about: &'static str,
}

/// Variables with our prefix that others read, and who.
pub(super) const OTHERS: &[(&str, &str)] = &[
    (
        "STATE_TOKEN",
        "the token for `/state`, unless the code sets one",
    ),
    (
        "STATE_TOKEN_NEXT",
        "the token that follows it, while it is changed",
    ),
];

/// All settings, in the order of the documentation. A setting has the name of the builder's method.
pub(super) const TABLE: &[Setting] = &[
    Setting {
        name: "ops_addr",
        kind: Kind::Addr(|ops, addr| ops.ops_addr(addr)),
        default: "[::]:8080",
        about: "where the operations endpoint listens",
    },
    Setting {
        name: "operations_token_file",
        kind: Kind::File(|ops, path| ops.tokens(|it| it.write(Secret::from_file(path)))),
        default: "(none)",
        about: "a file with the token for writing on the operations endpoint, read again when it changes",
    },
    Setting {
        name: "pre_drain",
        kind: Kind::Time(|ops, time| ops.lifecycle(|it| it.pre_drain(time))),
        default: "5s",
        about: "how long a service that stops still serves, while it is not ready",
    },
    Setting {
        name: "drain_timeout",
        kind: Kind::Time(|ops, time| ops.lifecycle(|it| it.drain_timeout(time))),
        default: "15s",
        about: "how long work in flight may then take to end",
    },
    Setting {
        name: "abort_timeout",
        kind: Kind::Time(|ops, time| ops.lifecycle(|it| it.abort_timeout(time))),
        default: "1s",
        about: "how long it may take to abort what did not end",
    },
    Setting {
        name: "hooks_timeout",
        kind: Kind::SomeTime(|ops, time| ops.lifecycle(|it| it.hooks_timeout(time))),
        default: "5s",
        about: "how long all hooks together may take",
    },
    Setting {
        name: "margin",
        kind: Kind::Time(|ops, time| ops.lifecycle(|it| it.margin(time))),
        default: "2s",
        about: "what is kept free at the end, to exit",
    },
    Setting {
        name: "grace_period",
        kind: Kind::Time(|ops, time| ops.lifecycle(|it| it.grace_period(time))),
        default: "30s",
        about: "after what time the process is killed: at least the sum of the five above",
    },
    Setting {
        name: "max_connections",
        kind: Kind::Limit(|ops, most| ops.connections(|it| it.max_connections(most))),
        default: "(three quarters of the file descriptors)",
        about: "how many connections may be open at once",
    },
    Setting {
        name: "first_byte_timeout",
        kind: Kind::Timeout(|ops, time| ops.connections(|it| it.first_byte_timeout(time))),
        default: "30s",
        about: "how long a client may send nothing after it connected",
    },
    Setting {
        name: "header_timeout",
        kind: Kind::Timeout(|ops, time| ops.connections(|it| it.header_timeout(time))),
        default: "30s",
        about: "how long the head of a request may take",
    },
    Setting {
        name: "idle_timeout",
        kind: Kind::Timeout(|ops, time| ops.connections(|it| it.idle_timeout(time))),
        default: "300s",
        about: "how long a connection may be open without a request",
    },
    Setting {
        name: "stall_timeout",
        kind: Kind::Timeout(|ops, time| ops.connections(|it| it.stall_timeout(time))),
        default: "off",
        about: "how long a client may neither read its response nor send its body",
    },
    Setting {
        name: "max_history",
        kind: Kind::Count(1_000_000, |ops, most| {
            ops.requests(|it| it.max_history(most))
        }),
        default: "1000",
        about: "how many requests that ended `/requests/history` shows",
    },
    Setting {
        name: "max_series",
        kind: Kind::Count(10_000_000, |ops, most| {
            ops.metrics(|it| it.max_series(most))
        }),
        default: "10000",
        about: "how many series of requests `/metrics` has",
    },
    Setting {
        name: "trusted_proxies",
        kind: Kind::Networks(|ops, networks| ops.trusted_proxies(networks)),
        default: "(none)",
        about: "whose `Forwarded` and `X-Forwarded-For` count, besides those that the code trusts",
    },
    Setting {
        name: "trace",
        kind: Kind::Switch(|ops, on| {
            if on {
                ops.with_spans()
            } else {
                ops.without_spans()
            }
        }),
        default: "on",
        about: "whether requests have a trace and a span; without, there is no access log either",
    },
    Setting {
        name: "trace_sample_ratio",
        kind: Kind::Ratio(|ops, ratio| {
            ops.trace(|it| it.with_sampling(Sampling::new().with_ratio(ratio)))
        }),
        default: "1",
        about: "the part of the traces that begin here that is recorded",
    },
    Setting {
        name: "trace_public_endpoint",
        kind: Kind::Switch(|ops, on| {
            let inbound = if on {
                Inbound::public_endpoint()
            } else {
                Inbound::accept()
            };
            ops.trace(|it| it.with_inbound(inbound))
        }),
        default: "off",
        about: "whether every request begins a new trace, which links to the caller's",
    },
    Setting {
        name: "access_log",
        kind: Kind::SwitchOrRatio(|ops, log| match log {
            SwitchOrRatio::Off => ops.without_access_log(),
            SwitchOrRatio::On(ratio) => ops
                .with_access_log()
                .access_log(|log| log.with_ratio(ratio)),
        }),
        default: "on",
        about: "whether the end of each request is logged, or which part of the successes: with `0` \
                only what failed or was cancelled",
    },
];
