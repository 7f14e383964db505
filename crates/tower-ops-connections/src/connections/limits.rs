use std::time::Duration;

use crate::clock::micros;
use crate::http2::StallLimit;
use crate::serve::keep_alive::KeepAlive;

/// The slowest reader that makes progress, in bytes a second on average over the stall timeout. Any
/// honest link is faster.
const SLOWEST_BYTES_A_SECOND: u64 = 240;

/// What to do at `max_connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnLimit {
    /// Accept no more until a connection ends. Clients wait in the kernel's queue.
    #[default]
    Wait,
    /// Accept it, close it at once, and count it.
    Reject,
}

/// What happens to connections after an upgrade, such as WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Upgraded {
    /// They are idle when no byte moved in either direction for the idle timeout.
    #[default]
    ReapByBytes,
    /// They are never idle, and neither is an HTTP/2 connection with a WebSocket or a tunnel. Their
    /// maximum age and the shutdown still apply.
    Exempt,
}

/// How HTTP/2 connections are closed where hyper's own shutdown is out of reach: under
/// `axum::serve` and tonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Http2Close {
    /// Sends GOAWAY, and ends the stream after the grace.
    #[default]
    GoAway,
    /// Ends the stream once nothing is in flight. It is always so over TLS that this crate does not
    /// terminate, such as tonic's own, since no frame can be inserted there.
    Eof,
}

/// The settings of connections, validated.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) first_byte: Option<Duration>,
    pub(crate) header: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_age_jitter: f64,
    pub(crate) max_requests: Option<u64>,
    pub(crate) grace: Duration,
    /// How long a drain waits for one more request.
    pub(crate) linger: Duration,
    pub(crate) stall: Option<Duration>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) on_limit: OnLimit,
    pub(crate) max_per_ip: Option<usize>,
    pub(crate) check_interval: Option<Duration>,
    pub(crate) http2_close: Http2Close,
    pub(crate) upgraded: Upgraded,
    pub(crate) keep_alive: KeepAlive,
}

impl Limits {
    /// Returns how often every connection is looked at.
    pub(crate) fn pass(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(250);
        const LONGEST: Duration = Duration::from_secs(60);
        // A timer cannot wait for a step of less, and the clock would fall behind.
        const FLOOR: Duration = Duration::from_millis(32);
        // A longer interval would only delay the metrics.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let limits = [
            self.first_byte,
            self.header,
            self.idle,
            self.max_age,
            self.stall,
            Some(self.grace),
        ];
        let smallest = limits.into_iter().flatten().min().unwrap_or(LONGEST);
        self.check_interval
            .unwrap_or_else(|| (smallest / 10).clamp(SHORTEST, LONGEST))
            .clamp(FLOOR, DAY)
    }

    /// Returns when an HTTP/2 client that does not read has stalled.
    pub(crate) fn stall_limit(&self) -> Option<StallLimit> {
        self.stall.map(|limit| StallLimit {
            limit: micros(limit),
            enough: progress(limit),
        })
    }
}

/// Returns how many bytes have to move within the stall timeout.
pub(crate) fn progress(limit: Duration) -> u64 {
    limit
        .as_secs()
        .max(1)
        .saturating_mul(SLOWEST_BYTES_A_SECOND)
}
