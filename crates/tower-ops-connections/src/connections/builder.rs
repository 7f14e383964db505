use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::Recorder;
use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::{RecorderHandle, SharedRecorder};

use crate::ConnectionEvent;
use crate::connections::Connections;
use crate::connections::limits::{Http2Close, Limits, OnLimit, Upgraded};
use crate::connections::shared::Shared;
use crate::event::OnEvent;
use crate::serve::descriptors;
use crate::serve::keep_alive::{KeepAlive, TCP_MOST_RETRIES};

/// Configures [`Connections`]. Made by [`Connections::builder`].
///
/// | setting | default | closes, or refuses, a client that |
/// |---|---|---|
/// | [`first_byte_timeout`](Self::first_byte_timeout) | 30 s | connects and sends nothing |
/// | [`header_timeout`](Self::header_timeout) | 30 s | begins a request and does not complete its head |
/// | [`idle_timeout`](Self::idle_timeout) | 300 s | sends no request |
/// | [`stall_timeout`](Self::stall_timeout) | off | does not read its response, or does not send its body |
/// | [`max_age`](Self::max_age) | off | has been connected for long |
/// | [`max_requests`](Self::max_requests) | off | has sent many requests |
/// | [`tcp_keep_alive`](Self::tcp_keep_alive) | 60 s, then 3 × 10 s | has vanished |
/// | [`http2_ping_interval`](Self::http2_ping_interval) | 60 s, then 20 s | has vanished |
/// | [`max_connections`](Self::max_connections) | three quarters of the file descriptors | is one too many |
/// | [`max_per_ip`](Self::max_per_ip) | off | is one too many of its address |
///
/// A setting that takes an `Option` is off with `None`. A duration that no clock can count, such as
/// `Duration::MAX`, never ends.
#[must_use = "a builder does nothing until it is built"]
pub struct ConnectionsBuilder {
    limits: Limits,
    on_event: Option<OnEvent>,
    recorder: Option<SharedRecorder>,
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
    /// Sets how long a client may send nothing after it connected. 30 seconds by default. Browsers open
    /// connections ahead, and lose those that they do not use for that long.
    pub fn first_byte_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.first_byte = limit.into();
        self
    }

    /// Sets how long the head of an HTTP/1 request may take from its first byte, and the HTTP/2 preface
    /// with its SETTINGS. While nothing is in flight, it also applies to each HTTP/2 frame but DATA,
    /// and to a header block. The time between two requests does not count: that is idleness. 30
    /// seconds by default.
    pub fn header_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.header = limit.into();
        self
    }

    /// Sets how long a connection may be open without an exchange in flight. HTTP/2 PINGs do not count
    /// as exchanges; a WebSocket over HTTP/2 does while bytes move. 300 seconds by default. Make it
    /// longer than clients keep connections in their pools, or they use one that is being closed.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.idle = limit.into();
        self
    }

    /// Sets how long a client may make no progress. Off by default.
    ///
    /// - A response waits for its reader. A reader that takes less than 240 bytes a second makes no
    ///   progress.
    /// - On HTTP/1, a handler waits for the request body. The timeout starts when it begins to wait,
    ///   and again with each byte. It does not run while the handler works.
    ///
    /// The connection is then cut off. On HTTP/2 only the stream that is not read is reset, if others
    /// make progress.
    pub fn stall_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.stall = limit.into();
        self
    }

    /// Sets the maximum age of a connection: for a load balancer that spreads connections, not
    /// requests. Exchanges in flight are completed. Off by default.
    pub fn max_age(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.max_age = limit.into();
        self
    }

    /// Sets by which part the maximum age of each connection differs at random, up or down. 0.1 by
    /// default, at most 1.
    pub const fn max_age_jitter(mut self, part: f64) -> Self {
        self.limits.max_age_jitter = part;
        self
    }

    /// Sets how many requests a connection may send. The last one is answered. Off by default.
    pub fn max_requests(mut self, limit: impl Into<Option<u64>>) -> Self {
        self.limits.max_requests = limit.into();
        self
    }

    /// Sets how long a connection may stay open once a close was requested: after GOAWAY, after an
    /// upgrade, and on HTTP/1 until there is one more request, since only a response can carry
    /// `Connection: close`. 10 seconds by default.
    pub const fn grace_timeout(mut self, timeout: Duration) -> Self {
        self.limits.grace = timeout;
        self
    }

    /// Sets how long a [drain](Connections::drain) waits for one more request on a connection of HTTP/1
    /// between two requests, and on one that has had none yet. That request is answered with
    /// `Connection: close`. A client whose pauses are shorter loses no request, and a drain takes that
    /// long if clients keep silent connections. 1 second by default, never longer than the
    /// [grace](Self::grace_timeout) and the drain's timeout. Zero closes such connections at once.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.limits.linger = linger;
        self
    }

    /// Sets after how much silence the kernel probes a TCP peer, also while a request is in flight. If
    /// [`tcp_keep_alive_retries`](Self::tcp_keep_alive_retries) probes are not answered, the
    /// connection is closed with an error. 60 seconds by default, at most 9 hours. Costs only these
    /// packets.
    ///
    /// Applies to the streams of tokio's `TcpListener`, on any server. While data is not
    /// acknowledged, the kernel sends that again instead: for about 15 minutes on Linux, see
    /// [`tcp_user_timeout`](Self::tcp_user_timeout).
    pub fn tcp_keep_alive(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.limits.keep_alive.tcp_after = after.into();
        self
    }

    /// Sets how long the kernel waits for the answer to each probe. 10 seconds by default.
    pub const fn tcp_keep_alive_interval(mut self, interval: Duration) -> Self {
        self.limits.keep_alive.tcp_interval = interval;
        self
    }

    /// Sets how many probes the kernel sends. 3 by default, at most 127.
    pub const fn tcp_keep_alive_retries(mut self, retries: u32) -> Self {
        self.limits.keep_alive.tcp_retries = retries;
        self
    }

    /// Sets how long a TCP peer may accept no data, on Linux: for peers that vanish while a response is
    /// sent. Off by default, since the kernel does not distinguish these from a client that pauses
    /// its reading. If clients must not do that, prefer the [stall timeout](Self::stall_timeout).
    pub fn tcp_user_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.keep_alive.tcp_user_timeout = limit.into();
        self
    }

    /// Sets after how much silence the `Server` sends an HTTP/2 client a PING, also while a request is
    /// in flight. 60 seconds by default.
    pub fn http2_ping_interval(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.limits.keep_alive.ping_after = after.into();
        self
    }

    /// Sets how long a client may take to answer that PING before its connection is closed with
    /// everything in flight. 20 seconds by default.
    pub const fn http2_ping_timeout(mut self, limit: Duration) -> Self {
        self.limits.keep_alive.ping_timeout = limit;
        self
    }

    /// Sets how many connections may be open at once. Further clients wait, or are refused: see
    /// [`on_limit`](Self::on_limit). By default a quarter of the process's file descriptors
    /// (`ulimit -n`), and at least 128, are left to everything else.
    pub fn max_connections(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.limits.max_connections = limit.into();
        self
    }

    /// Sets what to do at `max_connections`. [`OnLimit::Wait`] by default.
    pub const fn on_limit(mut self, on_limit: OnLimit) -> Self {
        self.limits.on_limit = on_limit;
        self
    }

    /// Sets how many connections one address may have; of IPv6, one /64. Further ones are closed at
    /// once, since all other clients would wait behind them. Behind a proxy all clients have one
    /// address. Off by default.
    pub fn max_per_ip(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.limits.max_per_ip = limit.into();
        self
    }

    /// Sets how often every connection is looked at: limits apply up to one interval late. By default a
    /// tenth of the shortest limit, at least 250 ms and at most 60 s. Less than 32 ms counts as 32 ms.
    pub fn check_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.limits.check_interval = interval.into();
        self
    }

    /// Sets how HTTP/2 connections are closed under `axum::serve` and tonic. [`Http2Close::GoAway`] by
    /// default.
    pub const fn http2_close(mut self, how: Http2Close) -> Self {
        self.limits.http2_close = how;
        self
    }

    /// Sets what happens to connections after an upgrade. [`Upgraded::ReapByBytes`] by default.
    pub const fn upgraded(mut self, how: Upgraded) -> Self {
        self.limits.upgraded = how;
        self
    }

    /// Sets a callback for events. It runs on the path of requests, without a lock of this crate. It
    /// must not block, and must not drop a body or a request: on HTTP/2 an exchange may end under a
    /// lock of the h2 crate. A panic in it is logged.
    pub fn on_event(
        mut self,
        on_event: impl Fn(&ConnectionEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_event = Some(Arc::new(on_event));
        self
    }

    /// Sets the recorder of metrics. The process's recorder by default.
    pub fn recorder(mut self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Validates the settings.
    ///
    /// # Errors
    ///
    /// If a setting is invalid; the error lists every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
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
        ConfigError::from_problems("the connections", problems)
    }

    /// Validates the settings and builds.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    pub fn build(self) -> Result<Connections, ConfigError> {
        self.validate()?;
        Ok(self.build_valid())
    }

    pub(crate) fn build_valid(self) -> Connections {
        let shared = Shared::new(
            self.limits,
            self.on_event,
            RecorderHandle::new(self.recorder),
        );
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
