use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::Recorder;
use tower_ops_config::ConfigError;

use crate::ConnectionEvent;
use crate::connections::Connections;
use crate::descriptors;
use crate::keep_alive::{KeepAlive, TCP_MOST_RETRIES};
use crate::limits::{Http2Close, Limits, OnLimit, Upgraded};
use crate::metrics::Sink;
use crate::shared::{OnEvent, Shared};

/// How connections live. Made by [`Connections::builder`].
///
/// | setting | default | closes, or refuses |
/// |---|---|---|
/// | [`first_byte_timeout`](Self::first_byte_timeout) | 30 s | who connects and says nothing |
/// | [`header_timeout`](Self::header_timeout) | 30 s | who begins a request and does not end its head |
/// | [`idle_timeout`](Self::idle_timeout) | 300 s | who asks for nothing |
/// | [`stall_timeout`](Self::stall_timeout) | off | who does not read, or does not send |
/// | [`max_age`](Self::max_age) | off | what is old |
/// | [`max_requests`](Self::max_requests) | off | what had many requests |
/// | [`tcp_keep_alive`](Self::tcp_keep_alive) | 60 s, then 3 × 10 s | who has vanished |
/// | [`http2_ping_interval`](Self::http2_ping_interval) | 60 s, then 20 s | who has vanished |
/// | [`max_connections`](Self::max_connections) | three quarters of the file descriptors | one more |
/// | [`max_per_ip`](Self::max_per_ip) | off | one more of an address |
///
/// A limit that takes an `Option` is off with `None`. A duration that no clock can
/// count, such as `Duration::MAX`, is one that is never over.
#[must_use = "a builder does nothing until it is built"]
pub struct ConnectionsBuilder {
    limits: Limits,
    on_event: Option<OnEvent>,
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
}

impl Default for ConnectionsBuilder {
    fn default() -> Self {
        Self {
            limits: Limits {
                first_byte: Some(Duration::from_secs(30)),
                header: Some(Duration::from_secs(30)),
                idle: Some(Duration::from_secs(300)),
                max_age: None,
                max_age_jitter: 0.1,
                max_requests: None,
                grace: Duration::from_secs(10),
                linger: Duration::from_secs(1),
                stall: None,
                max_connections: descriptors::room_for_connections(),
                on_limit: OnLimit::Wait,
                max_per_ip: None,
                check_interval: None,
                http2_close: Http2Close::GoAway,
                upgraded: Upgraded::ReapByBytes,
                keep_alive: KeepAlive::default(),
            },
            on_event: None,
            recorder: None,
        }
    }
}

impl ConnectionsBuilder {
    /// How long a client may say nothing after it connected. Browsers open
    /// connections ahead; they lose those that they do not use for so long.
    pub fn first_byte_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.first_byte = limit.into();
        self
    }

    /// How long the head of an HTTP/1 request may take from its first byte, and the
    /// preface of HTTP/2 with its SETTINGS. Also any frame of HTTP/2 that is no body,
    /// and a header block, while nothing is in flight. The time between two requests
    /// is not counted: that is idle.
    pub fn header_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.header = limit.into();
        self
    }

    /// How long a connection may live without an exchange in flight. Pings of
    /// HTTP/2 do not count; a WebSocket over HTTP/2 does while bytes flow. Should be
    /// longer than clients keep theirs in a pool, or they run into a closing one.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.idle = limit.into();
        self
    }

    /// How long a response may wait for its reader without progress worth the name: a
    /// reader that takes less than 240 bytes a second makes none. And how long a
    /// handler may wait for a request's body (on HTTP/1) without a byte: from when it
    /// began to wait, and anew from each byte that comes. While the handler works, or
    /// has been woken for what came, nobody waits for the client. The connection is
    /// cut off then; on HTTP/2, if other streams get on, only the stream that is not
    /// read is reset.
    pub fn stall_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.stall = limit.into();
        self
    }

    /// How old a connection may become: for a load balancer that spreads
    /// connections, not requests. Exchanges in flight come to their end.
    pub fn max_age(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.max_age = limit.into();
        self
    }

    /// By which part, up or down, the maximum age differs from one connection to
    /// the next: 0.1 by default, at most 1.
    pub const fn max_age_jitter(mut self, part: f64) -> Self {
        self.limits.max_age_jitter = part;
        self
    }

    /// How many requests one connection may bring. The last one is answered.
    pub fn max_requests(mut self, limit: impl Into<Option<u64>>) -> Self {
        self.limits.max_requests = limit.into();
        self
    }

    /// How long a peer may take to go once its connection is to be closed: after
    /// GOAWAY, after an upgrade, and on HTTP/1 until it has asked once more, since
    /// only an answer can say `Connection: close`. 10 seconds by default.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.limits.grace = grace;
        self
    }

    /// How long a [drain](Connections::drain) waits on a connection without an
    /// exchange in flight for one more request, so that it is answered with
    /// `Connection: close`: HTTP/1 between two requests, and a connection that was
    /// accepted and has had none yet. A client whose pauses are shorter loses no
    /// request; a drain takes that long if some are silent. 1 second by default, and
    /// never longer than the [grace](Self::grace) and the drain's deadline. Zero
    /// closes them at once.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.limits.linger = linger;
        self
    }

    /// After which silence the kernel asks a TCP peer whether it is still there, also
    /// while a request is in flight. One that does not answer
    /// [`tcp_keep_alive_retries`](Self::tcp_keep_alive_retries) times is closed with
    /// an error. 60 seconds by default, at most 9 hours; costs nothing but these
    /// packets.
    ///
    /// Set on the streams of tokio's `TcpListener`, whichever server they are for.
    /// While data waits to be acknowledged the kernel tries that instead: about 15
    /// minutes on Linux, see [`tcp_user_timeout`](Self::tcp_user_timeout).
    pub fn tcp_keep_alive(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.limits.keep_alive.tcp_after = after.into();
        self
    }

    /// How long the kernel waits for each answer. 10 seconds by default.
    pub const fn tcp_keep_alive_interval(mut self, interval: Duration) -> Self {
        self.limits.keep_alive.tcp_interval = interval;
        self
    }

    /// How often the kernel asks. 3 times by default, at most 127.
    pub const fn tcp_keep_alive_retries(mut self, retries: u32) -> Self {
        self.limits.keep_alive.tcp_retries = retries;
        self
    }

    /// How long a TCP peer may leave data without taking it, on Linux: for peers that
    /// vanish while they are sent a response. Off by default, since the kernel does
    /// not tell these from a client that is there and pauses its reading; set the
    /// [stall timeout](Self::stall_timeout) rather, if none may.
    pub fn tcp_user_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.keep_alive.tcp_user_timeout = limit.into();
        self
    }

    /// After which silence a client of HTTP/2 gets a PING, also while a request is in
    /// flight; on the `Server`. 60 seconds by default.
    pub fn http2_ping_interval(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.limits.keep_alive.ping_after = after.into();
        self
    }

    /// How long a client may take to answer that PING before its connection is
    /// closed, with all that is in flight. 20 seconds by default.
    pub const fn http2_ping_timeout(mut self, limit: Duration) -> Self {
        self.limits.keep_alive.ping_timeout = limit;
        self
    }

    /// How many connections may be open at once. What comes then waits, unless
    /// [`on_limit`](Self::on_limit) says otherwise. By default as many as leave a quarter of
    /// the process's file descriptors (`ulimit -n`), and 128 at least, to everything else;
    /// `None` for no limit.
    pub fn max_connections(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.limits.max_connections = limit.into();
        self
    }

    /// What to do when there are as many connections as there may be.
    pub const fn on_limit(mut self, on_limit: OnLimit) -> Self {
        self.limits.on_limit = on_limit;
        self
    }

    /// How many connections one address may have; of IPv6, one /64. More are
    /// closed at once: to wait would make all others wait as well. Behind a proxy
    /// all have one address.
    pub fn max_per_ip(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.limits.max_per_ip = limit.into();
        self
    }

    /// How often every connection is looked at: limits are kept up to one interval
    /// late. By default a tenth of the shortest limit, but at least 250 ms and at
    /// most a minute. What is below 32 ms counts as that.
    pub fn check_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.limits.check_interval = interval.into();
        self
    }

    /// How HTTP/2 connections are closed under `axum::serve` and tonic.
    pub const fn http2_close(mut self, how: Http2Close) -> Self {
        self.limits.http2_close = how;
        self
    }

    /// What happens to connections after an upgrade.
    pub const fn upgraded(mut self, how: Upgraded) -> Self {
        self.limits.upgraded = how;
        self
    }

    /// Calls `on_event` with all that happens. It runs on the path of requests and
    /// under no lock of ours; it must not block, nor drop a body or a request: the end
    /// of an exchange on HTTP/2 may be noticed under a lock of the h2 crate.
    pub fn on_event(
        mut self,
        on_event: impl Fn(&ConnectionEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_event = Some(Arc::new(on_event));
        self
    }

    /// Records into this recorder, and not into the process's one.
    pub fn recorder(mut self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    ///
    /// If a setting is invalid; the error lists every problem.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let mut problems = Vec::new();
        let mut positive = |name: &str, limit: Option<Duration>| {
            if limit.is_some_and(|limit| limit.is_zero()) {
                problems.push(format!(
                    "{name}: is zero, which would close every connection; give None to switch it \
                     off"
                ));
            }
        };
        positive("first_byte_timeout", limits.first_byte);
        positive("header_timeout", limits.header);
        positive("idle_timeout", limits.idle);
        positive("stall_timeout", limits.stall);
        positive("max_age", limits.max_age);
        positive("check_interval", limits.check_interval);
        let keep_alive = &limits.keep_alive;
        positive("tcp_keep_alive", keep_alive.tcp_after);
        positive("tcp_user_timeout", keep_alive.tcp_user_timeout);
        positive("http2_ping_interval", keep_alive.ping_after);
        for (name, limit) in [
            ("tcp_keep_alive_interval", keep_alive.tcp_interval),
            ("http2_ping_timeout", keep_alive.ping_timeout),
        ] {
            if limit.is_zero() {
                problems.push(format!("{name}: is zero; give a duration"));
            }
        }
        if !(1..=TCP_MOST_RETRIES).contains(&keep_alive.tcp_retries) {
            problems.push(format!(
                "tcp_keep_alive_retries: {} is not between 1 and {TCP_MOST_RETRIES}",
                keep_alive.tcp_retries
            ));
        }
        if !(0.0..=1.0).contains(&limits.max_age_jitter) {
            problems.push(format!(
                "max_age_jitter: {} is not between 0 and 1",
                limits.max_age_jitter
            ));
        }
        let mut some = |name: &str, limit: Option<u64>| {
            if limit == Some(0) {
                problems.push(format!(
                    "{name}: is 0, which would serve nobody; give None to switch it off"
                ));
            }
        };
        some("max_requests", limits.max_requests);
        some(
            "max_connections",
            limits.max_connections.map(|most| most as u64),
        );
        some("max_per_ip", limits.max_per_ip.map(|most| most as u64));
        ConfigError::check("the connections", problems)
    }

    /// Checks everything and builds.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn build(self) -> Result<Connections, ConfigError> {
        self.check()?;
        Ok(self.build_checked())
    }

    pub(crate) fn build_checked(self) -> Connections {
        let shared = Shared::new(self.limits, self.on_event, Sink(self.recorder));
        Connections::from_shared(Arc::new(shared), "default")
    }
}

impl fmt::Debug for ConnectionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionsBuilder")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
