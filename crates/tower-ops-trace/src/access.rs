use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use tower_ops_core::http::millis;
use tower_ops_observe::{Class, Ending, Facts, TraceIds, original_path};
use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::sampling::{Ratio, RouteRule, RouteRules};
use crate::truncated::{LONGEST, truncated};

/// A level is part of an event's call site.
macro_rules! emit {
    ($level:expr, $request:ident, $ending:ident, $facts:ident) => {{
        let hex = $facts.trace_ids().map(|ids| {
            (ids.trace_id_hex(), ids.span_id_hex(), ids.flags_hex())
        });
        let hex = hex.as_ref();
        let from_client = $request.0.as_deref();
        tracing::event!(
            target: ACCESS_TARGET,
            parent: None,
            $level,
            method = $facts.method().as_str(),
            route = $facts.route_or_unmatched(),
            status = $ending.status().map(|status| status.as_u16()),
            grpc = $ending.grpc_status().map(|code| code.as_str()),
            outcome = $ending.outcome().as_str(),
            duration_ms = millis($ending.duration()),
            ttfb_ms = $ending.time_to_head().map(millis),
            bytes_in = $facts.request_body_size(),
            bytes_out = $ending.bytes_sent(),
            peer = $facts.peer().map(tracing::field::display),
            request_id = $facts.request_id().and_then(|id| id.to_str().ok()),
            trace_id = hex.map(|(id, ..)| id.as_str()),
            span_id = hex.map(|(_, id, _)| id.as_str()),
            trace_flags = hex.map(|(.., flags)| flags.as_str()),
            path = from_client.and_then(|it| it.path.as_deref()),
            user_agent = from_client.and_then(|it| it.agent.as_deref()),
            headers = from_client.and_then(|it| it.headers.as_deref()),
            "request"
        );
    }};
}

/// The target of access-log events, for filters: `tower_ops::access`.
pub const ACCESS_TARGET: &str = "tower_ops::access";

/// Logs one event for every exchange, at its end: however it ends.
///
/// The event has the message `request`, the target [`ACCESS_TARGET`], no span around it, and the
/// fields
///
/// | field | |
/// |---|---|
/// | `method` | a known one or `_OTHER` |
/// | `route` | a template or a gRPC method; `{unmatched}` |
/// | `status` | the HTTP status, if there was a response's head |
/// | `grpc` | the gRPC status, by its name |
/// | `outcome` | `completed`, `failed`, `cancelled_during_body` … |
/// | `duration_ms`, `ttfb_ms` | to the end, and to the response's head: milliseconds, with microseconds as fractions |
/// | `bytes_in`, `bytes_out` | of the bodies; what came in only where it can be counted |
/// | `peer` | an address, if an observer sets it |
/// | `request_id`, `trace_id`, `span_id`, `trace_flags` | |
/// | `path`, `user_agent`, `headers` | from the client, only if asked for |
///
/// A query never stands in it. Nor do probes by `grpc.health.v1`, unless
/// [asked for](crate::Spans::with_probes).
///
/// # Levels
///
/// `INFO` for a success and for a client's error, `WARN` for a cancelled exchange, `ERROR` for a
/// server's error and for a timeout; see [`with_level`](Self::with_level). Where the subscriber does
/// not want the level, the event costs a comparison.
///
/// # Examples
///
/// ```
/// use tower_ops_trace::{AccessLog, Ratio, RouteRule, Spans};
///
/// let log = AccessLog::new()
///     .with_route("/static/{*path}", RouteRule::Off)
///     .with_route("/events", RouteRule::Ratio(Ratio::new(0.01)?))
///     .with_header("x-tenant".parse().unwrap());
/// let layer = Spans::new().with_access_log(log).into_layer();
/// # let _ = layer;
/// # Ok::<_, tower_ops_trace::InvalidRatio>(())
/// ```
#[derive(Clone, Debug)]
pub struct AccessLog {
    ratio: Ratio,
    routes: RouteRules,
    levels: [Level; Class::ALL.len()],
    path: bool,
    user_agent: bool,
    headers: Vec<HeaderName>,
}

impl AccessLog {
    /// Logs every exchange, without anything that a client sent but a request id that was accepted.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ratio: Ratio::ALL,
            routes: RouteRules::new(),
            levels: [
                Level::INFO,
                Level::INFO,
                Level::ERROR,
                Level::ERROR,
                Level::WARN,
            ],
            path: false,
            user_agent: false,
            headers: Vec::new(),
        }
    }

    /// Sets how many of the successes are logged. They are chosen by the trace id; errors, of the
    /// server or of the client, timeouts and cancelled exchanges are always logged.
    #[must_use]
    pub const fn with_ratio(mut self, ratio: Ratio) -> Self {
        self.ratio = ratio;
        self
    }

    /// Sets a rule for a route. With [`RouteRule::Off`] nothing of it is logged, whatever
    /// becomes of it; a ratio concerns its successes.
    #[must_use]
    pub fn with_route(mut self, route: &str, rule: RouteRule) -> Self {
        self.routes.set(route, rule);
        self
    }

    /// Sets the level for one class of endings.
    #[must_use]
    pub fn with_level(mut self, class: Class, level: Level) -> Self {
        if let Some(index) = index_of(class) {
            self.levels[index] = level;
        }
        self
    }

    /// Adds the path, without its query. It is text from a client, cut to 512 bytes.
    #[must_use]
    pub const fn with_path(mut self) -> Self {
        self.path = true;
        self
    }

    /// Adds the user agent. It is text from a client, cut to 512 bytes.
    #[must_use]
    pub const fn with_user_agent(mut self) -> Self {
        self.user_agent = true;
        self
    }

    /// Adds a header of the request to the field `headers`. It is text from a client, cut to 512
    /// bytes.
    ///
    /// `authorization`, `proxy-authorization`, `cookie`, and values that are marked as
    /// [sensitive](HeaderValue::set_sensitive) stand there as `[redacted]`.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName) -> Self {
        self.headers.push(name);
        self
    }

    /// What has to be taken from the request while it is there.
    pub(crate) fn begin<B>(&self, request: &Request<B>) -> LoggedRequest {
        if !self.path && !self.user_agent && self.headers.is_empty() {
            return LoggedRequest(None);
        }
        let headers = request.headers();
        let agent = headers
            .get(header::USER_AGENT)
            .filter(|_| self.user_agent)
            .map(text);
        LoggedRequest(Some(Box::new(FromClient {
            path: self
                .path
                .then(|| truncated(original_path(request)).to_owned()),
            agent,
            headers: self.headers_of(headers),
        })))
    }

    fn headers_of(&self, headers: &HeaderMap) -> Option<String> {
        let mut line = String::new();
        for name in &self.headers {
            for value in headers.get_all(name) {
                if !line.is_empty() {
                    line.push(' ');
                }
                // Writing to a string does not fail.
                let _ = if is_secret(name, value) {
                    write!(line, "{name}=[redacted]")
                } else {
                    write!(line, "{name}={:?}", text(value))
                };
            }
        }
        (!line.is_empty()).then_some(line)
    }

    #[inline(never)]
    pub(crate) fn end(&self, request: &LoggedRequest, ending: &Ending<'_>, facts: &Facts) {
        let class = ending.class();
        let level = index_of(class).map_or(Level::INFO, |index| self.levels[index]);
        if LevelFilter::current() < level || !self.takes(class, facts) {
            return;
        }
        match level {
            Level::ERROR => emit!(Level::ERROR, request, ending, facts),
            Level::WARN => emit!(Level::WARN, request, ending, facts),
            Level::INFO => emit!(Level::INFO, request, ending, facts),
            Level::DEBUG => emit!(Level::DEBUG, request, ending, facts),
            Level::TRACE => emit!(Level::TRACE, request, ending, facts),
        }
    }

    fn takes(&self, class: Class, facts: &Facts) -> bool {
        let rule = if self.routes.is_empty() {
            None
        } else {
            self.routes.get(facts.route_or_unmatched())
        };
        let rule = rule.unwrap_or(RouteRule::Ratio(self.ratio));
        if class != Class::Success {
            return rule != RouteRule::Off;
        }
        rule.takes(facts.trace_ids().map_or(u128::MAX, TraceIds::trace_id))
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self::new()
    }
}

/// What is logged of a request's head.
#[derive(Debug)]
pub(crate) struct LoggedRequest(Option<Box<FromClient>>);

#[derive(Debug)]
struct FromClient {
    path: Option<String>,
    agent: Option<String>,
    headers: Option<String>,
}

fn index_of(class: Class) -> Option<usize> {
    Class::ALL.iter().position(|own| *own == class)
}

fn is_secret(name: &HeaderName, value: &HeaderValue) -> bool {
    let is_known = [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
    ];
    value.is_sensitive() || is_known.contains(name)
}

fn text(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    truncated(&text).to_owned()
}
