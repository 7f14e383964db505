use std::sync::OnceLock;

use metrics::{Histogram, Label};
use tower_ops_observe::Ending;

use crate::names;
use crate::registry::Registry;

/// How many series a histogram is in Prometheus: one for each bucket, and three
/// for the last bucket, the sum and the count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistogramSeries {
    pub(crate) duration: usize,
    pub(crate) size: usize,
}

/// The instruments of one label set, resolved once and kept.
pub(crate) struct Set {
    labels: Vec<Label>,
    duration: Histogram,
    response: Option<Response>,
    /// Comes with the first request that has a body: most sets never see one.
    request_size: OnceLock<Option<Histogram>>,
}

struct Response {
    first_byte: Histogram,
    size: Histogram,
}

/// What a label set has besides its duration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A gRPC call: the duration alone.
    Rpc,
    /// An HTTP exchange that ended before its head: perhaps a request's size.
    HttpWithoutHead,
    /// An HTTP exchange with a response.
    Http,
}

impl Shape {
    pub(crate) const fn series(self, histogram: HistogramSeries) -> usize {
        match self {
            Self::Rpc | Self::HttpWithoutHead => histogram.duration,
            Self::Http => 2 * histogram.duration + histogram.size,
        }
    }
}

impl Set {
    pub(crate) fn register(registry: &Registry, shape: Shape, labels: Vec<Label>) -> Self {
        let name = match shape {
            Shape::Rpc => names::RPC_DURATION,
            Shape::HttpWithoutHead | Shape::Http => names::DURATION,
        };
        Self {
            duration: registry.histogram(name, &labels),
            response: (shape == Shape::Http).then(|| Response {
                first_byte: registry.histogram(names::FIRST_BYTE, &labels),
                size: registry.histogram(names::RESPONSE_SIZE, &labels),
            }),
            request_size: match shape {
                Shape::Rpc => OnceLock::from(None),
                Shape::HttpWithoutHead | Shape::Http => OnceLock::new(),
            },
            labels,
        }
    }

    /// The set for what comes after the cap: its place is reserved, so that it
    /// asks the budget for nothing.
    pub(crate) fn register_overflow(registry: &Registry, shape: Shape, labels: Vec<Label>) -> Self {
        let mut set = Self::register(registry, shape, labels);
        if shape == Shape::Http {
            let size = registry.histogram(names::REQUEST_SIZE, &set.labels);
            set.request_size = OnceLock::from(Some(size));
        }
        set
    }

    /// Records one exchange, but for the size of its request.
    pub(crate) fn record(&self, ending: &Ending<'_>) {
        self.duration.record(ending.duration().as_secs_f64());
        if let (Some(response), Some(head)) = (&self.response, ending.time_to_head()) {
            response.first_byte.record(head.as_secs_f64());
            response.size.record(as_f64(ending.bytes_sent()));
        }
    }

    /// What records the sizes of requests. `None` if there was no place for that
    /// under the cap any more.
    pub(crate) fn request_size(
        &self,
        registry: &Registry,
        histogram: HistogramSeries,
    ) -> Option<&Histogram> {
        let instrument = self.request_size.get_or_init(|| {
            registry
                .take(histogram.size)
                .then(|| registry.histogram(names::REQUEST_SIZE, &self.labels))
        });
        instrument.as_ref()
    }

    pub(crate) fn reserved_request_size(&self) -> Option<&Histogram> {
        self.request_size.get()?.as_ref()
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
pub(crate) const fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
