use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use tokio::time::Instant;
use tower_ops_observe::{Facts, TraceIds, original_path};

/// A part of all, from 0 to 1.
///
/// What belongs to a trace is taken or left by its trace id, so that all services that are set to
/// the same ratio take the same traces.
///
/// # Examples
///
/// ```
/// use tower_ops_trace::Ratio;
///
/// let tenth: Ratio = "0.1".parse()?;
/// assert_eq!(tenth, Ratio::new(0.1)?);
/// assert_eq!(Ratio::new(7.0).unwrap_err().to_string(), "a ratio must be from 0 to 1, and is 7");
/// # Ok::<_, tower_ops_trace::InvalidRatio>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// A trace is taken if its 56 random bits are not less.
    threshold: u64,
}

const RANDOM_BITS: u64 = 1 << 56;

impl Ratio {
    /// Everything.
    pub const ALL: Self = Self { threshold: 0 };
    /// Nothing.
    pub const NONE: Self = Self {
        threshold: RANDOM_BITS,
    };

    /// Makes a ratio of a number.
    ///
    /// # Errors
    ///
    /// If it is less than 0, more than 1, or no number.
    pub fn new(ratio: f64) -> Result<Self, InvalidRatio> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(InvalidRatio(ratio.to_string()));
        }
        // Exact: 2 to the 56th is a power of two, and the product at most that.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "from 0 to 2 to the 56th"
        )]
        let threshold = ((1.0 - ratio) * RANDOM_BITS as f64) as u64;
        Ok(Self { threshold })
    }

    /// Whether it takes the trace with this id: by its last 56 bits, which level 2 of the W3C
    /// trace context wants random.
    #[must_use]
    #[inline]
    pub const fn takes(self, trace_id: u128) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "the last bits are wanted")]
        let random = trace_id as u64 & (RANDOM_BITS - 1);
        random >= self.threshold
    }
}

impl FromStr for Ratio {
    type Err = InvalidRatio;

    fn from_str(text: &str) -> Result<Self, InvalidRatio> {
        let number = text.trim().parse();
        Self::new(number.map_err(|_| InvalidRatio(format!("{text:?}")))?)
    }
}

impl fmt::Debug for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let ratio = 1.0 - self.threshold as f64 / RANDOM_BITS as f64;
        write!(f, "Ratio({ratio})")
    }
}

/// The error of a [`Ratio`] that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRatio(String);

impl fmt::Display for InvalidRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a ratio must be from 0 to 1, and is {}", self.0)
    }
}

impl Error for InvalidRatio {}

/// What one route has instead of what the others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteRule {
    /// None of its requests.
    Off,
    /// All of them.
    Always,
    /// A part of them.
    Ratio(Ratio),
}

impl RouteRule {
    #[inline]
    pub(crate) const fn takes(self, trace_id: u128) -> bool {
        match self {
            Self::Off => false,
            Self::Always => true,
            Self::Ratio(ratio) => ratio.takes(trace_id),
        }
    }
}

/// The rules of routes. They are few, and looked through.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteRules(Vec<(Box<str>, RouteRule)>);

impl RouteRules {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// The last rule of a route counts. With or without its slash, which a gRPC method has only as
    /// a path.
    pub(crate) fn set(&mut self, route: &str, rule: RouteRule) {
        let route = without_slash(route);
        self.0.retain(|(own, _)| &**own != route);
        self.0.push((route.into(), rule));
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, route: &str) -> Option<RouteRule> {
        let route = without_slash(route);
        let found = self.0.iter().find(|(own, _)| &**own == route);
        found.map(|(_, rule)| *rule)
    }

    /// By the route or, where a router has not found it yet, by the path: a template without
    /// parameters is its own path, and so is a gRPC method.
    pub(crate) fn of_request<B>(&self, facts: &Facts, request: &Request<B>) -> Option<RouteRule> {
        match facts.route() {
            Some(route) if !facts.is_grpc() => self.get(route.as_str()),
            _ => self.get(original_path(request)),
        }
    }
}

fn without_slash(route: &str) -> &str {
    route.strip_prefix('/').unwrap_or(route)
}

/// Which traces are recorded. Decided by the head of a request, before anything is built for it.
///
/// In this order, the first that applies:
///
/// 1. the [rule](Self::with_route) of the route, if it has one;
/// 2. the flag of the caller's span, if its context is [trusted](crate::Inbound). The
///    [limit](Self::with_forced_limit) can overrule a flag that asks for what the ratio leaves out;
/// 3. the [ratio](Self::with_ratio), by the trace id.
///
/// By default the caller decides, and a trace that begins here is recorded.
///
/// # Examples
///
/// ```
/// use tower_ops_trace::{Ratio, RouteRule, Sampling, Spans};
///
/// let sampling = Sampling::new()
///     .with_ratio(Ratio::new(0.1)?)
///     .with_route("/status/{code}", RouteRule::Off)
///     .with_forced_limit(10);
/// let spans = Spans::new().with_sampling(sampling);
/// # let _ = spans;
/// # Ok::<_, tower_ops_trace::InvalidRatio>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampling {
    ratio: Ratio,
    ignores_caller: bool,
    routes: RouteRules,
    forced: Option<Arc<RateLimit>>,
}

impl Sampling {
    /// Follows the caller, and records all traces that begin here.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ratio: Ratio::ALL,
            ignores_caller: false,
            routes: RouteRules::new(),
            forced: None,
        }
    }

    /// Sets how many of the traces that begin here are recorded.
    #[must_use]
    pub const fn with_ratio(mut self, ratio: Ratio) -> Self {
        self.ratio = ratio;
        self
    }

    /// Ignores the caller's flag: the ratio counts for every trace.
    #[must_use]
    pub const fn without_caller(mut self) -> Self {
        self.ignores_caller = true;
        self
    }

    /// Sets a rule for a route: a template such as `/users/{id}`, or a gRPC method such as
    /// `helloworld.Greeter/SayHello`.
    ///
    /// A template with parameters needs a layer that knows the route when the request comes in,
    /// inside of axum's `Router::layer`. Every rule that there is costs each request a comparison.
    #[must_use]
    pub fn with_route(mut self, route: &str, rule: RouteRule) -> Self {
        self.routes.set(route, rule);
        self
    }

    /// Sets how many traces a second are recorded only because a caller asks for it, in all; as many
    /// may come at once. No limit by default.
    ///
    /// A caller that is not under your control can have every request recorded without it.
    #[must_use]
    pub fn with_forced_limit(mut self, per_second: u32) -> Self {
        self.forced = Some(Arc::new(RateLimit::new(per_second)));
        self
    }

    /// Of a trace that begins here.
    #[inline(always)]
    pub(crate) fn decide_new<B>(
        &self,
        trace_id: u128,
        facts: &Facts,
        request: &Request<B>,
    ) -> bool {
        if self.routes.is_empty() {
            return self.ratio.takes(trace_id);
        }
        let rule = self.routes.of_request(facts, request);
        rule.unwrap_or(RouteRule::Ratio(self.ratio)).takes(trace_id)
    }

    /// Of the trace of a caller.
    pub(crate) fn decide<B>(&self, caller: TraceIds, facts: &Facts, request: &Request<B>) -> bool {
        let trace_id = caller.trace_id();
        if !self.routes.is_empty()
            && let Some(rule) = self.routes.of_request(facts, request)
        {
            return rule.takes(trace_id);
        }
        let own = self.ratio.takes(trace_id);
        if self.ignores_caller || !caller.is_sampled() {
            return self.ignores_caller && own;
        }
        let limit = self.forced.as_ref().filter(|_| !own);
        limit.is_none_or(|limit| limit.take(facts.started()))
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self::new()
    }
}

/// So many a second, and so many at once.
#[derive(Debug)]
struct RateLimit {
    base: Instant,
    /// Nanoseconds for each.
    interval: u64,
    /// When all that was taken is paid for, in nanoseconds since the base.
    paid_at: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl RateLimit {
    fn new(per_second: u32) -> Self {
        Self {
            base: Instant::now(),
            interval: SECOND
                .checked_div(u64::from(per_second))
                .unwrap_or(u64::MAX),
            paid_at: AtomicU64::new(0),
        }
    }

    fn take(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.base);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let horizon = now.saturating_add(SECOND);
        let later = |paid_at: u64| {
            let next = paid_at.max(now).saturating_add(self.interval);
            (next <= horizon).then_some(next)
        };
        self.paid_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[test]
    fn a_ratio_takes_its_part() {
        let quarter = Ratio::new(0.25).unwrap();
        let taken = (0..10_000).filter(|_| quarter.takes(crate::ids::new_trace().trace_id()));
        let taken = taken.count();
        assert!((2_200..2_800).contains(&taken), "{taken}");
        for trace in [1, u128::MAX, RANDOM_BITS.into()] {
            assert!(Ratio::new(1.0).unwrap().takes(trace));
            assert!(!Ratio::new(0.0).unwrap().takes(trace));
        }
    }

    #[test]
    fn what_is_no_ratio_is_refused() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Ratio::new(wrong).is_err());
        }
        let error = "ten".parse::<Ratio>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a ratio must be from 0 to 1, and is \"ten\""
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_and_comes_back() {
        let limit = RateLimit::new(10);
        let burst = || (0..100).filter(|_| limit.take(Instant::now())).count();
        assert_eq!(burst(), 10);
        advance(Duration::from_millis(250)).await;
        assert_eq!(burst(), 2);
        advance(Duration::from_secs(60)).await;
        assert_eq!(burst(), 10, "no more is saved up");
        assert!(!RateLimit::new(0).take(Instant::now()));
    }

    #[test]
    fn a_method_may_begin_with_a_slash() {
        let mut rules = RouteRules::new();
        rules.set("/pkg.Service/Method", RouteRule::Always);
        rules.set("/pkg.Service/Method", RouteRule::Off);
        rules.set("pkg.Service/Other", RouteRule::Off);
        for route in [
            "pkg.Service/Method",
            "/pkg.Service/Method",
            "/pkg.Service/Other",
        ] {
            assert_eq!(rules.get(route), Some(RouteRule::Off), "{route}");
        }
        assert_eq!(rules.get("/pkg.Service"), None);
    }
}
