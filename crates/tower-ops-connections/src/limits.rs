//! The limits, and what they say of one connection at one moment.

use std::time::Duration;

use crate::clock::micros;
use crate::http2::Patience;
use crate::keep_alive::KeepAlive;
use crate::record::Record;
use crate::shards::SHARDS;
use crate::{CloseReason, Protocol};

/// A peer that reads fewer bytes a second than this, on average over the stall timeout,
/// makes no progress: slow enough for any honest link.
const SLOWEST_BYTES_A_SECOND: u64 = 240;

/// What to do when there are as many connections as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnLimit {
    /// Accept no more until one ends. What comes waits in the kernel's queue.
    #[default]
    Wait,
    /// Accept it, close it at once, and count it.
    Reject,
}

/// What happens to connections after an upgrade, such as WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Upgraded {
    /// They are idle when no byte went either way for the idle timeout.
    #[default]
    ReapByBytes,
    /// They are never idle. Maximum age and shutdown still hold. On HTTP/2, a
    /// connection with a WebSocket or a tunnel is not.
    Exempt,
}

/// How HTTP/2 connections are closed where hyper's own shutdown cannot be reached:
/// under `axum::serve` and tonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Http2Close {
    /// A GOAWAY frame goes out first, and after the grace the end of the stream.
    #[default]
    GoAway,
    /// The stream just ends, once nothing is in flight. Over TLS that is not ours,
    /// as tonic's own, it is always so: no frame can be put in there.
    Eof,
}

/// Every setting of how connections live, checked.
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

/// What is to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Leave,
    /// Close it, unless a request begins first.
    CloseIdle,
    Close(CloseReason),
    /// It was told, and had its time.
    Force,
    /// The same, unless a request begins first.
    ForceIdle,
    /// Have the I/O look for streams of HTTP/2 that have stalled.
    LookAtStreams,
    /// As `Leave`, but nothing tells its exchanges: only bytes can be judged.
    Unseen,
}

impl Limits {
    /// Judges `record` at `now`, without changing it.
    pub(crate) fn judge(&self, record: &Record, now: Duration) -> Verdict {
        let seen = record.state.seen();
        let since = |then: Duration| now.saturating_sub(then);
        let over = |then: Duration, limit: Option<Duration>| {
            limit.is_some_and(|limit| since(then) >= limit)
        };

        if !seen.is_open() {
            return self.judge_closing(record, now);
        }
        if record
            .max_age()
            .is_some_and(|limit| since(record.opened) >= limit)
        {
            return Verdict::Close(CloseReason::MaxAge);
        }
        if record.stalled(now, self.stall) {
            return Verdict::Close(CloseReason::Stalled);
        }
        let protocol = record.protocol();
        if protocol == Protocol::Upgraded {
            let reaped = self.upgraded == Upgraded::ReapByBytes && !seen.is_busy();
            return if reaped && over(record.last_byte(), self.idle) {
                Verdict::Close(CloseReason::Idle)
            } else {
                Verdict::Leave
            };
        }
        if record.is_followed() {
            return self.judge_http2(record, now);
        }
        if seen.is_busy() {
            return Verdict::Leave;
        }
        if protocol == Protocol::Unknown && record.bytes_read() == 0 {
            return if over(record.opened, self.first_byte) {
                Verdict::Close(CloseReason::FirstByteTimeout)
            } else if over(record.opened, self.idle) {
                Verdict::CloseIdle
            } else {
                Verdict::Leave
            };
        }
        if let Some(head) = record.head_begun() {
            // Whoever sees no exchanges cannot tell a head from a body.
            return if !record.is_served() && !record.is_opaque() {
                self.judge_unseen(record, now)
            } else if over(head, self.header) {
                Verdict::Close(CloseReason::HeaderTimeout)
            } else {
                Verdict::Leave
            };
        }
        if !record.is_served() {
            return self.judge_unseen(record, now);
        }
        // What is not written yet belongs to an exchange that only seems over.
        if !record.is_write_blocked() && over(record.idle_since(), self.idle) {
            return Verdict::CloseIdle;
        }
        Verdict::Leave
    }

    /// HTTP/2 whose frames are followed: they show all that is to be known.
    fn judge_http2(&self, record: &Record, now: Duration) -> Verdict {
        let over = |then: Duration, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_sub(then) >= limit)
        };
        if record.may_have_stalled_streams(now, self.stall) {
            return Verdict::LookAtStreams;
        }
        if record.is_in_use(now) {
            return Verdict::Leave;
        }
        if let Some(head) = record.head_begun() {
            return if over(head, self.header) {
                Verdict::Close(CloseReason::HeaderTimeout)
            } else {
                Verdict::Leave
            };
        }
        // Streams may be open: nobody knows whether a silent tunnel is needed.
        if !record.is_write_blocked() && over(record.idle_since(), self.idle) {
            return Verdict::CloseIdle;
        }
        Verdict::Leave
    }

    /// Nobody told of exchanges on this connection: then it is idle when no byte
    /// went either way, and never while some wait to be written.
    fn judge_unseen(&self, record: &Record, now: Duration) -> Verdict {
        let quiet = now.saturating_sub(record.last_byte());
        match self.idle {
            Some(limit) if quiet >= limit && !record.is_write_blocked() => Verdict::CloseIdle,
            _ => Verdict::Unseen,
        }
    }

    fn judge_closing(&self, record: &Record, now: Duration) -> Verdict {
        let seen = record.state.seen();
        if seen.is_forced() {
            return Verdict::Leave;
        }
        // What is in flight is waited for, but not for a peer that does not take it.
        if record.stalled(now, self.stall) {
            return Verdict::Force;
        }
        if record.may_have_stalled_streams(now, self.stall) {
            return Verdict::LookAtStreams;
        }
        // The last bytes of an exchange that has only just ended may not be written.
        let just_ended = record.idle_since() >= now;
        // hyper has taken the last answer from the service before it is written.
        let unwritten = record.is_write_blocked()
            && record.protocol() == Protocol::Http1
            && seen.reason() != Some(CloseReason::Manual);
        if just_ended || unwritten || now.saturating_sub(record.grace_since(seen)) < self.grace {
            Verdict::Leave
        } else if !record.is_in_use(now) {
            Verdict::ForceIdle
        } else if seen.reason() == Some(CloseReason::Manual) {
            // Whoever closes by hand means it.
            Verdict::Force
        } else {
            // A request in flight gets the time that it needs. Only a drain has a
            // deadline.
            Verdict::Leave
        }
    }

    /// Until when `record` need not be looked at again, after it was left alone: no
    /// verdict can come about before. Whatever changes meanwhile starts a limit of
    /// its own, and the shortest of them is not over by then either.
    pub(crate) fn next_look(&self, record: &Record, now: Duration) -> Duration {
        let ends =
            |then: Duration, limit: Option<Duration>| limit.map(|limit| then.saturating_add(limit));
        let seen = record.state.seen();
        let by_state = if seen.is_open() {
            let head = record.head_begun();
            [
                ends(record.opened, record.max_age()),
                ends(record.opened, self.first_byte).filter(|_| record.bytes_read() == 0),
                ends(record.idle_since(), self.idle).filter(|_| !seen.is_busy()),
                ends(record.last_byte(), self.idle).filter(|_| record.keeps_bytes()),
                record
                    .http2
                    .blocked_since()
                    .and_then(|since| ends(since, self.stall)),
                head.and_then(|head| ends(head, self.header)),
                record
                    .writing
                    .since()
                    .and_then(|since| ends(since, self.stall)),
                record
                    .reading
                    .since()
                    .and_then(|since| ends(since, self.stall)),
            ]
        } else {
            [
                ends(record.grace_since(seen), Some(self.grace)),
                None,
                None,
                None,
                None,
                None,
                None,
                None,
            ]
        };
        // Spread, so that those that came together are not looked at together.
        let shortest = self.shortest_change();
        // By their order in a shard.
        let place = u32::try_from(record.id / SHARDS as u64 % 64).unwrap_or_default();
        let spread = shortest / 2 + shortest / 128 * place;
        by_state
            .into_iter()
            .flatten()
            .fold(now.saturating_add(spread), Duration::min)
    }

    /// The shortest limit that something can start which has not begun yet.
    fn shortest_change(&self) -> Duration {
        // The metrics are told of bytes when a connection is looked at.
        const FRESH: Duration = Duration::from_secs(15);
        let limits = [self.header, self.idle, self.stall, Some(self.grace)];
        limits.into_iter().flatten().fold(FRESH, Duration::min)
    }

    /// How often the connections are looked at.
    pub(crate) fn pass(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(250);
        const LONGEST: Duration = Duration::from_secs(60);
        let limits = [
            self.first_byte,
            self.header,
            self.idle,
            self.max_age,
            self.stall,
            Some(self.grace),
        ];
        /// Whoever gives a longer interval has no limits, and metrics all the same.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        /// What divides it must still be a time that a timer can wait, or the reaper
        /// would never rest, and the clock never keep up.
        const FLOOR: Duration = Duration::from_millis(32);
        let smallest = limits.into_iter().flatten().min().unwrap_or(LONGEST);
        self.check_interval
            .unwrap_or_else(|| (smallest / 10).clamp(SHORTEST, LONGEST))
            .clamp(FLOOR, DAY)
    }
}

impl Limits {
    /// When a client of HTTP/2 that does not read has stalled.
    pub(crate) fn patience(&self) -> Option<Patience> {
        self.stall.map(|limit| Patience {
            limit: micros(limit),
            enough: enough(limit),
        })
    }
}

/// What has to move within the stall timeout.
fn enough(limit: Duration) -> u64 {
    limit
        .as_secs()
        .max(1)
        .saturating_mul(SLOWEST_BYTES_A_SECOND)
}

impl Record {
    /// Whether anything is in flight: an exchange, or a stream of HTTP/2 that has no
    /// response yet or has moved bytes within the idle timeout.
    pub(crate) fn is_in_use(&self, now: Duration) -> bool {
        if self.state.seen().is_busy() {
            return true;
        }
        if !self.is_followed() || self.http2.open() == 0 {
            return false;
        }
        let limits = &self.shared.limits;
        let exempt = limits.upgraded == Upgraded::Exempt && self.http2.has_tunnels();
        let since = self.idle_since().max(self.http2.moved());
        let moves = limits
            .idle
            .is_none_or(|limit| now.saturating_sub(since) < limit);
        exempt || self.http2.unanswered() > 0 || moves
    }

    fn may_have_stalled_streams(&self, now: Duration, limit: Option<Duration>) -> bool {
        let Some(limit) = limit.filter(|_| self.is_followed()) else {
            return false;
        };
        let since = self.http2.blocked_since();
        since.is_some_and(|since| now.saturating_sub(since) >= limit)
    }

    /// Whether the peer is what the connection waits for, and does not send, or hardly
    /// reads.
    fn stalled(&self, now: Duration, limit: Option<Duration>) -> bool {
        let Some(limit) = limit else { return false };
        let enough = enough(limit);
        let written = self
            .writing
            .is_stalled(now, limit, self.bytes_written(), enough);
        // Both are asked, since asking also moves their windows on.
        let read = self.reading.is_stalled(now, limit, self.bytes_read());
        written || read
    }
}

#[cfg(test)]
mod tests;
