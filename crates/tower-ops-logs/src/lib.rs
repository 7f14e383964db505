//! The log of a service: lines as JSON, ECS, GCP or text, each with the ids of the request that it
//! belongs to.
//!
//! # Overview
//!
//! A layer for `tracing` renders the fields of a span once, when it is made, and each event as one
//! line. A thread of its own writes the lines, so that no caller waits for the reader.
//!
//! - No client can forge a line: all text is escaped in one place, values and lines are bounded, keys
//!   stand once, and the names that a line needs for itself are its own.
//! - Request id, trace id and span id come from the exchange that
//!   [`tower-ops-observe`](tower_ops_observe) watches, without code in the handler.
//! - The filter changes [at run time](LevelService), and back by itself.
//! - Where lines come faster than they are read, the less severe ones are dropped first, counted, and
//!   reported in a line of their own.
//! - A panic becomes one event, with the ids of its request.
//!
//! # Example
//!
//! ```
//! use tower_ops_logs::{Format, Logs};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let _guard = Logs::builder()
//!     .format(Format::Json)
//!     .field("service", "orders")
//!     .install()?;
//! tracing::info!(port = 3000, "listening");
//! # Ok(())
//! # }
//! ```
//!
//! [`init`] starts it in one line with the default settings. Who has a subscriber of several layers adds
//! [`Logs::layer`] to it and calls [`Logs::activate`].
//!
//! # A line
//!
//! ```json
//! {"timestamp":"2026-11-25T14:03:41.123456Z","level":"INFO","target":"orders::api","message":"sold",
//! "request_id":"0e37df36-…","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7",
//! "trace_flags":"01","service":"orders","items":3,"http.route":"/orders/{id}"}
//! ```
//!
//! The first eight keys are always in that order, as far as they are known. The fields follow: those
//! of [every line](LogsBuilder::field), of the event, of its span, of the spans around that. Of two
//! fields of the same name the event's counts, then that of the inner span. A field that is named like
//! one of the first eight gets the prefix `field.`, unless it is an id and nothing else knows that id:
//! `info!(request_id = "nightly", …)` outside of any exchange is a line of that request id.
//!
//! | part | bound |
//! |---|---|
//! | value of a field | 1 KiB; then it ends in `…` |
//! | message | 4 KiB |
//! | key | 64 bytes |
//! | all fields | 9 KiB; others are left out |
//! | line | less than 16 KiB ([`MAX_LINE`]) |
//!
//! A line in which something was cut has the field `truncated`. Control characters, separators of
//! lines and characters that change the direction of text are `\u001b` in JSON and `\u{1b}` in text;
//! what is not UTF-8 is U+FFFD.
//!
//! An event with the target `tower_ops::access`, as tower-ops-trace logs one for each exchange, brings
//! its ids along. ECS and GCP show what it knows in `http`, `event` and `httpRequest`.
//!
//! # Losses
//!
//! The queue is [bounded](LogsBuilder::queue). A line that finds it too full for its
//! [level](LogsBuilder::drop_at) is dropped. As soon as there is room again, and at most once a second,
//! a line at `warn` reports how many were lost:
//!
//! ```text
//! WARN tower_ops::logs: log lines were lost lost=5211 lost_info=211 lost_debug=5000
//! ```
//!
//! `tower_ops_log_lines_dropped_total{level}` counts them, and what could not be written, exactly:
//! [`Logs::register_metrics`]. What is still in the queue when the [guard](LogsGuard) gives up is not
//! counted.
//!
//! # Operating
//!
//! | service | path | |
//! |---|---|---|
//! | [`Logs::level_service`] | `/loglevel` | `curl -X PUT 'localhost:8080/loglevel?for=10m' -d debug` |
//! | [`Logs::ring_service`] | `/logs` | `curl 'localhost:8080/logs?request_id=0e37df36-…'` |
//!
//! They are tower services for tower-ops-admin, which asks for the permission.
//!
//! # Cost
//!
//! An `info!` with a message in an exchange costs some 1,700 instructions as JSON, and 190 more for
//! each field; a span of two fields some 1,700 more than the registry needs. A line allocates nothing
//! once the buffers have grown, a span one box. No two threads write the same memory, as long as there
//! are no more of them than shards of the queue. What the filter does not want costs a comparison.
//!
//! # Limits
//!
//! - Filters are by target and level; not by span or field.
//! - `log::info!` and the like are not read: add `tracing-log`.
//! - Lines of different threads are in the order of their timestamps among those that are written at
//!   once, and otherwise in the order in which they were taken.
//! - A task that was spawned bare has no ids. `.in_current_span()` takes those of the span along, and
//!   a span that was made in an exchange has them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod escape;
mod fields;
mod filter;
mod format;
mod ids;
mod layer;
mod level;
mod logs;
mod panic_hook;
mod ring;
mod stamp;
mod writer;

pub use tower_ops_core::config::ConfigError;
pub use tower_ops_core::recorder::RecorderHandle;

pub use self::builder::{
    DEFAULT_DROP_AT, DEFAULT_FLUSH_TIMEOUT, DEFAULT_QUEUE, InstallError, LogsBuilder,
};
pub use self::filter::FilterError;
pub use self::filter::reload::LogsFilter;
pub use self::format::{Format, MAX_LINE, UnknownFormat};
pub use self::layer::LogsLayer;
pub use self::level::service::{LevelFuture, LevelService};
pub use self::logs::{AlreadyInstalled, Logs, LogsGuard, init};
pub use self::ring::service::RingService;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
