//! Which connection has to be closed: a pure function of the limits and of a connection's state at
//! one moment.

use std::time::Duration;

use crate::close::state::StateWord;
use crate::connections::limits::{Limits, Upgraded, progress};
use crate::connections::shards::SHARDS;
use crate::record::Record;
use crate::{CloseReason, Protocol};

#[cfg(test)]
mod tests;

/// What is to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Leave,
    /// As `Leave`, but nothing tracks its exchanges: only its bytes can be judged.
    Untracked,
    /// Close it, unless a request begins first.
    CloseIdle,
    Close(CloseReason),
    /// End it: the close was requested long enough ago.
    Force,
    /// The same, unless a request begins first.
    ForceIdle,
    /// Have the I/O look for stalled HTTP/2 streams, which it owns.
    LookAtStreams,
}

/// A connection at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) state: StateWord,
    pub(crate) protocol: Protocol,
    /// Whether a service tracks the exchanges.
    pub(crate) served: bool,
    /// Whether the bytes are TLS that this crate does not terminate.
    pub(crate) opaque: bool,
    pub(crate) opened: Duration,
    pub(crate) max_age: Option<Duration>,
    /// Whether no byte has come yet.
    pub(crate) silent: bool,
    /// When the first byte of an incomplete head came.
    pub(crate) head_begun: Option<Duration>,
    /// When the last exchange ended, or the connection was opened.
    pub(crate) idle_since: Duration,
    /// When the last byte moved; `None` where bytes do not decide.
    pub(crate) last_byte: Option<Duration>,
    /// When the close was requested; zero if it was not.
    pub(crate) closing_since: Duration,
    /// Whether bytes wait to be written.
    pub(crate) write_blocked: bool,
    /// When the peer was first waited for, to read and to send.
    pub(crate) waits: [Option<Duration>; 2],
    /// Whether such a wait has lasted for the stall timeout.
    pub(crate) stalled: bool,
    /// What the frames show, where they are followed.
    pub(crate) http2: Option<Http2View>,
    /// In which of 64 parts of a pass the next look falls.
    pub(crate) part: u32,
}

/// The streams of an HTTP/2 connection at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http2View {
    pub(crate) open: u32,
    /// How many of them have no response yet.
    pub(crate) unanswered: u32,
    /// When DATA last moved on an open stream.
    pub(crate) moved: Duration,
    /// Since when a client may have kept a window closed.
    pub(crate) blocked_since: Option<Duration>,
    /// Whether any stream may be a tunnel or a WebSocket.
    pub(crate) tunnels: bool,
}

impl View {
    /// Reads only what can decide: with a million connections, each cache line counts.
    #[inline]
    pub(crate) fn of(record: &Record, limits: &Limits, now: Duration) -> Self {
        let state = record.state.load();
        Self {
            state,
            protocol: record.protocol(),
            served: record.is_served(),
            opaque: record.is_opaque(),
            opened: record.opened,
            max_age: record.max_age(),
            silent: record.bytes_read() == 0,
            head_begun: record.head_begun(),
            idle_since: record.idle_since(),
            last_byte: record.keeps_bytes().then(|| record.last_byte()),
            closing_since: if state.is_open() {
                Duration::ZERO
            } else {
                record.closing_since()
            },
            write_blocked: record.is_write_blocked(),
            // First: this moves the windows of the waits.
            stalled: record.is_stalled(now, limits.stall),
            waits: [record.write_wait.since(), record.body_wait.since()],
            http2: record.http2_view(),
            part: u32::try_from(record.id / SHARDS as u64 % 64).unwrap_or_default(),
        }
    }

    /// Returns when the grace of a connection that is being closed began.
    fn grace_since(&self) -> Duration {
        let learns_by_response = matches!(self.protocol, Protocol::Unknown | Protocol::Http1);
        if learns_by_response && !self.state.is_busy() {
            // The head of the last response may have gone out before the close was requested.
            self.closing_since.max(self.idle_since)
        } else {
            self.closing_since
        }
    }
}

impl Record {
    fn http2_view(&self) -> Option<Http2View> {
        self.is_followed().then(|| self.http2.view())
    }

    /// Returns whether anything is in flight: see [`Limits::is_in_use`].
    pub(crate) fn is_in_use(&self, now: Duration) -> bool {
        let state = self.state.load();
        let limits = &self.shared.limits;
        limits.is_in_use(state, self.http2_view().as_ref(), self.idle_since(), now)
    }

    /// Returns whether the connection has waited for its peer, to read or to send, for the stall
    /// timeout.
    fn is_stalled(&self, now: Duration, limit: Option<Duration>) -> bool {
        let Some(limit) = limit else { return false };
        let enough = progress(limit);
        let written = self
            .write_wait
            .is_stalled(now, limit, self.bytes_written(), enough);
        // Both are evaluated, since that also moves their windows.
        let read = self.body_wait.is_stalled(now, limit, self.bytes_read());
        written || read
    }
}

impl Limits {
    /// Judges a connection at `now`.
    pub(crate) fn judge(&self, view: &View, now: Duration) -> Verdict {
        if !view.state.is_open() {
            return self.judge_closing(view, now);
        }
        if is_over(Some(view.opened), view.max_age, now) {
            return Verdict::Close(CloseReason::MaxAge);
        }
        if view.stalled {
            return Verdict::Close(CloseReason::Stalled);
        }
        if view.protocol == Protocol::Upgraded {
            let reaped = self.upgraded == Upgraded::ReapByBytes && !view.state.is_busy();
            return if reaped && is_over(view.last_byte, self.idle, now) {
                Verdict::Close(CloseReason::Idle)
            } else {
                Verdict::Leave
            };
        }
        match &view.http2 {
            Some(http2) => self.judge_http2(view, http2, now),
            None => self.judge_bytes(view, now),
        }
    }

    /// HTTP/1, or nothing yet, or TLS that this crate does not terminate.
    fn judge_bytes(&self, view: &View, now: Duration) -> Verdict {
        if view.state.is_busy() {
            return Verdict::Leave;
        }
        if view.protocol == Protocol::Unknown && view.silent {
            return if is_over(Some(view.opened), self.first_byte, now) {
                Verdict::Close(CloseReason::FirstByteTimeout)
            } else {
                close_idle_if(is_over(Some(view.opened), self.idle, now))
            };
        }
        // Where exchanges are not tracked, a head cannot be distinguished from a body.
        if view.head_begun.is_some() && (view.served || view.opaque) {
            return self.judge_head(view, now);
        }
        if !view.served {
            // Idle when no byte moved in either direction, and never while some wait to be written.
            return if is_over(view.last_byte, self.idle, now) && !view.write_blocked {
                Verdict::CloseIdle
            } else {
                Verdict::Untracked
            };
        }
        self.judge_idle(view, now)
    }

    /// HTTP/2 whose frames are followed.
    fn judge_http2(&self, view: &View, http2: &Http2View, now: Duration) -> Verdict {
        if is_over(http2.blocked_since, self.stall, now) {
            Verdict::LookAtStreams
        } else if self.is_in_use(view.state, Some(http2), view.idle_since, now) {
            Verdict::Leave
        } else if view.head_begun.is_some() {
            self.judge_head(view, now)
        } else {
            // Streams may be open: it is not known whether a silent tunnel is needed.
            self.judge_idle(view, now)
        }
    }

    fn judge_head(&self, view: &View, now: Duration) -> Verdict {
        if is_over(view.head_begun, self.header, now) {
            Verdict::Close(CloseReason::HeaderTimeout)
        } else {
            Verdict::Leave
        }
    }

    fn judge_idle(&self, view: &View, now: Duration) -> Verdict {
        // Bytes that wait to be written belong to an exchange that only seems over.
        close_idle_if(!view.write_blocked && is_over(Some(view.idle_since), self.idle, now))
    }

    fn judge_closing(&self, view: &View, now: Duration) -> Verdict {
        let state = view.state;
        if state.is_forced() {
            return Verdict::Leave;
        }
        // Exchanges in flight are waited for, but not for a peer that does not read.
        if view.stalled {
            return Verdict::Force;
        }
        let blocked_since = view.http2.and_then(|http2| http2.blocked_since);
        if is_over(blocked_since, self.stall, now) {
            return Verdict::LookAtStreams;
        }
        // The last bytes of an exchange that has only just ended may not be written yet.
        let just_ended = view.idle_since >= now;
        // hyper takes the last response from the service before it has written it.
        let unwritten = view.write_blocked
            && view.protocol == Protocol::Http1
            && state.reason() != Some(CloseReason::Manual);
        let in_grace = now.saturating_sub(view.grace_since()) < self.grace;
        if just_ended || unwritten || in_grace {
            Verdict::Leave
        } else if !self.is_in_use(state, view.http2.as_ref(), view.idle_since, now) {
            Verdict::ForceIdle
        } else if state.reason() == Some(CloseReason::Manual) {
            // An operator who closes a connection by hand expects its end.
            Verdict::Force
        } else {
            // A request in flight may take as long as it needs. Only a drain has a deadline.
            Verdict::Leave
        }
    }

    /// Returns whether anything is in flight: an exchange, or an HTTP/2 stream that has no response
    /// yet or has moved bytes within the idle timeout.
    fn is_in_use(
        &self,
        state: StateWord,
        http2: Option<&Http2View>,
        idle_since: Duration,
        now: Duration,
    ) -> bool {
        if state.is_busy() {
            return true;
        }
        let Some(http2) = http2.filter(|http2| http2.open > 0) else {
            return false;
        };
        let exempt = self.upgraded == Upgraded::Exempt && http2.tunnels;
        let since = idle_since.max(http2.moved);
        let moves = self.idle.is_none() || !is_over(Some(since), self.idle, now);
        exempt || http2.unanswered > 0 || moves
    }

    /// Returns the earliest time at which [`judge`](Self::judge) could return anything but `Leave`.
    /// Any event that could change the verdict earlier starts a timeout of its own.
    pub(crate) fn next_look(&self, view: &View, now: Duration) -> Duration {
        let end =
            |since: Option<Duration>, limit: Option<Duration>| Some(since?.saturating_add(limit?));
        // Spread over the second half of the shortest timeout, so that connections that were opened
        // together are not looked at together.
        let shortest = self.shortest_timeout();
        let latest = now.saturating_add(shortest / 2 + shortest / 128 * view.part);
        if !view.state.is_open() {
            return latest.min(view.grace_since().saturating_add(self.grace));
        }
        let [write_wait, body_wait] = view.waits;
        let idle_since = (!view.state.is_busy()).then_some(view.idle_since);
        let silent_since = view.silent.then_some(view.opened);
        let blocked_since = view.http2.and_then(|http2| http2.blocked_since);
        let ends = [
            end(Some(view.opened), view.max_age),
            end(silent_since, self.first_byte),
            end(idle_since, self.idle),
            end(view.last_byte, self.idle),
            end(view.head_begun, self.header),
            end(blocked_since, self.stall),
            end(write_wait, self.stall),
            end(body_wait, self.stall),
        ];
        ends.into_iter().flatten().fold(latest, Duration::min)
    }

    /// Returns the shortest timeout that may start before the next look.
    fn shortest_timeout(&self) -> Duration {
        // Each look also publishes the bytes as metrics, which should be fresh.
        const FRESH: Duration = Duration::from_secs(15);
        let limits = [self.header, self.idle, self.stall, Some(self.grace)];
        limits.into_iter().flatten().fold(FRESH, Duration::min)
    }
}

fn is_over(since: Option<Duration>, limit: Option<Duration>, now: Duration) -> bool {
    match (since, limit) {
        (Some(since), Some(limit)) => now.saturating_sub(since) >= limit,
        _ => false,
    }
}

const fn close_idle_if(idle: bool) -> Verdict {
    if idle {
        Verdict::CloseIdle
    } else {
        Verdict::Leave
    }
}
