use std::fmt;
use std::sync::{Arc, Once, OnceLock};

use http::Request;
use metrics::{Counter, Gauge, Histogram, Label};
use tower_layer::Layer;
use tower_ops_observe::{
    Class, Ending, Facts, KnownMethod, Observe, ObserveLayer, ObserveService, Outcome,
};

use crate::builder::MetricsBuilder;
use crate::labels::{LabelKey, active_labels};
use crate::names;
use crate::registry::Registry;
use crate::set::{HistogramSeries, Set, Shape, as_f64};
use crate::table::Table;

/// Server metrics of exchanges, recorded through the `metrics` facade.
///
/// A cheap-clone handle. [`layer`](Self::layer) makes a layer of its own; the
/// handle itself is an observer, to go into a tuple with others.
///
/// Instruments are resolved when a label set is first seen, and kept: from then
/// on an exchange costs a table look-up and a few atomics. No lock, no label
/// strings, no allocation but what the recorder makes for its samples.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "prometheus")] {
/// use tower_ops_metrics::Metrics;
///
/// let (metrics, prometheus) = Metrics::builder().prefix("orders_").build_prometheus()?;
/// let layer = metrics.layer();
/// println!("{}", prometheus.render());
/// # let _ = layer;
/// # }
/// # Ok::<(), tower_ops_metrics::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    histogram: HistogramSeries,
    in_flight: Gauge,
    ids_replaced: Counter,
    overflowed: Counter,
    active: [[OnceLock<Gauge>; 2]; KnownMethod::ALL.len()],
    requests: [[OnceLock<Counter>; Class::ALL.len()]; Outcome::ALL.len()],
    sets: Table<Set>,
    overflow: [OnceLock<Set>; 2],
    warned: Once,
}

impl Metrics {
    /// Metrics of your choice.
    #[must_use]
    pub fn builder() -> MetricsBuilder {
        MetricsBuilder::new()
    }

    /// A layer that records every request that passes.
    #[must_use]
    pub fn layer(&self) -> MetricsLayer {
        MetricsLayer(ObserveLayer::new(self.clone()))
    }

    pub(crate) fn new(registry: Registry, histogram: HistogramSeries, max_series: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                in_flight: registry.gauge(names::IN_FLIGHT, &[]),
                ids_replaced: registry.counter(names::IDS_REPLACED, &[]),
                overflowed: registry.counter(names::OVERFLOW, &[]),
                active: Default::default(),
                requests: Default::default(),
                sets: Table::new(max_series / Shape::Rpc.series(histogram)),
                overflow: Default::default(),
                warned: Once::new(),
                registry,
                histogram,
            }),
        }
    }

    /// Returns how many series there are from the start. They are reserved, so that there always is
    /// room for the set of the overflow.
    pub(crate) const fn fixed_series(histogram: HistogramSeries) -> usize {
        let active = KnownMethod::ALL.len() * 2;
        // A completed exchange has one of all classes, any other exchange has only one.
        let requests = Class::ALL.len() + Outcome::ALL.len() - 1;
        let overflow =
            Shape::Rpc.series(histogram) + Shape::Http.series(histogram) + histogram.size;
        3 + active + requests + overflow
    }
}

impl Inner {
    fn active(&self, method: KnownMethod, secure: bool) -> &Gauge {
        self.active[method as usize][usize::from(secure)].get_or_init(|| {
            self.registry
                .gauge(names::ACTIVE, &active_labels(method, secure))
        })
    }

    fn requests(&self, outcome: Outcome, class: Class) -> &Counter {
        self.requests[outcome as usize][class as usize].get_or_init(|| {
            let labels = [
                Label::from_static_parts("outcome", outcome.as_str()),
                Label::from_static_parts("class", class.as_str()),
            ];
            self.registry.counter(names::REQUESTS, &labels)
        })
    }

    fn set(&self, key: LabelKey, route: &str) -> &Set {
        let shape = key.shape();
        let series = shape.series(self.histogram);
        let make = || {
            self.registry
                .take(series)
                .then(|| Set::register(&self.registry, shape, key.labels(route)))
        };
        let undo = || self.registry.give_back(series);
        if let Some(set) = self.sets.get_or_insert(key, route, make, undo) {
            return set;
        }
        self.overflowed.increment(1);
        self.warned.call_once(|| {
            tracing::warn!(
                "the cap on metric series is reached: new label sets are counted for the route \
                 {{overflow}}; raise max_series if the service really has that many routes"
            );
        });
        self.overflow(key)
    }

    fn overflow(&self, key: LabelKey) -> &Set {
        let shape = if key.is_rpc() {
            Shape::Rpc
        } else {
            Shape::Http
        };
        self.overflow[usize::from(key.is_rpc())]
            .get_or_init(|| Set::register_overflow(&self.registry, shape, key.overflow_labels()))
    }
}

impl Observe for Metrics {
    type Exchange = MetricsExchange;

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) -> MetricsExchange {
        self.inner.in_flight.increment(1.0);
        // Protocol and scheme may still change, but the same gauge has to go down that went up.
        let secure = facts.scheme() == "https";
        let http = !facts.is_grpc();
        if http {
            self.inner.active(facts.method(), secure).increment(1.0);
        }
        MetricsExchange { http, secure }
    }

    fn on_end(&self, exchange: &mut MetricsExchange, ending: &Ending<'_>, facts: &Facts) {
        let inner = &*self.inner;
        let key = LabelKey::of(ending, facts);
        let set = inner.set(key, facts.route_or_unmatched());
        set.record(ending);
        if let Some(read) = facts.request_body_size() {
            let size = set.request_size(&inner.registry, inner.histogram);
            // There is no metric of the size of a call's request.
            let size = match size {
                None if !key.is_rpc() => inner.overflow(key).reserved_request_size(),
                size => size,
            };
            if let Some(size) = size {
                record_request_size(size, read, facts);
            }
        }
        inner
            .requests(ending.outcome(), ending.class())
            .increment(1);
        if facts.request_id_replaced() {
            inner.ids_replaced.increment(1);
        }
        if exchange.http {
            inner.active(facts.method(), exchange.secure).decrement(1.0);
        }
        inner.in_flight.decrement(1.0);
    }
}

/// Records the size of the request when its body is over, which may be after the response: a handler
/// may answer first and read on.
fn record_request_size(size: &Histogram, read: u64, facts: &Facts) {
    if facts.is_request_body_over() {
        size.record(as_f64(facts.request_body_size().unwrap_or(read)));
    } else {
        let size = size.clone();
        facts.at_request_body_end(move |read| size.record(as_f64(read)));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The state of [`Metrics`] for one exchange.
#[derive(Debug)]
pub struct MetricsExchange {
    http: bool,
    secure: bool,
}

/// Records every request that passes. Made by [`Metrics::layer`].
///
/// Put it outermost, or at least outside of layers that answer by themselves.
#[derive(Clone, Debug)]
pub struct MetricsLayer(ObserveLayer<Metrics>);

impl<S> Layer<S> for MetricsLayer {
    type Service = ObserveService<S, Metrics>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(inner)
    }
}
