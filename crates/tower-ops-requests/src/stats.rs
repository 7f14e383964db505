use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tower_ops_observe::{Class, Outcome};

use crate::record::SECOND;
use crate::record::kind::Kind;
use crate::record::progress::OUTCOMES;
use crate::record::snapshot::millis;
use crate::stats::routes::RouteStats;
use crate::stats::shard_stats::ShardStats;
use crate::tracker::RequestTracker;

pub(crate) mod quantiles;
pub(crate) mod routes;
pub(crate) mod shard_stats;

impl RequestTracker {
    /// Returns what the tracker has counted since it was made.
    ///
    /// Merges the counts of all threads. That is too much for every request, and fine for every
    /// second.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let registry = &self.inner.registry;
        let now = registry.now();
        let shards = registry.stats();
        let second = now / SECOND;
        let rate = |seconds: u32| {
            let counts = shards
                .iter()
                .map(|shard| shard.seconds.before(second, seconds.into()));
            #[expect(
                clippy::cast_precision_loss,
                reason = "no service ends that many in a minute"
            )]
            let count = counts.sum::<u64>() as f64;
            count / f64::from(seconds)
        };
        Stats {
            in_flight: registry.in_flight_count(),
            oldest: registry
                .oldest()
                .map(|started| Duration::from_nanos(now.saturating_sub(started))),
            rates: Rates {
                second: rate(1),
                ten_seconds: rate(10),
                minute: rate(60),
            },
            outcomes: sum(shards.iter().map(|shard| &shard.outcomes)),
            classes: sum(shards.iter().map(|shard| &shard.classes)),
            routes: routes(&shards, now),
        }
    }
}

/// Counts, rates and durations of the requests and tasks that ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// How many requests and tasks are in flight.
    pub in_flight: usize,
    /// The age of the oldest one in flight.
    #[serde(rename = "oldest_ms", serialize_with = "millis")]
    pub oldest: Option<Duration>,
    /// How many end per second.
    pub rates: Rates,
    #[serde(serialize_with = "by_outcome")]
    outcomes: [u64; OUTCOMES.len()],
    #[serde(serialize_with = "by_class")]
    classes: [u64; Class::ALL.len()],
    /// By route and by name of task, those with the most endings first: at most
    /// [`max_routes`](crate::RequestTrackerBuilder::max_routes), and `{other}` for the rest.
    pub routes: Vec<RouteSummary>,
}

impl Stats {
    /// Returns how many ended.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Returns how many ended with this outcome.
    #[must_use]
    pub const fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Returns how many ended in this class.
    #[must_use]
    pub const fn class(&self, class: Class) -> u64 {
        self.classes[class as usize]
    }
}

/// How many end per second, on average over the whole seconds before the running one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rates {
    /// Over one second.
    #[serde(rename = "1s")]
    pub second: f64,
    /// Over ten seconds.
    #[serde(rename = "10s")]
    pub ten_seconds: f64,
    /// Over a minute.
    #[serde(rename = "60s")]
    pub minute: f64,
}

/// The endings of one route, or of one name of task.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouteSummary {
    /// The route's template, or the name.
    pub route: String,
    /// `Request` or `Task`.
    pub kind: Kind,
    /// How many ended.
    pub total: u64,
    #[serde(serialize_with = "by_class")]
    classes: [u64; Class::ALL.len()],
    /// The median duration. As all quantiles here it is of those that ended in the last five to ten
    /// minutes, within 1 %, and an hour at most.
    #[serde(rename = "p50_ms", serialize_with = "millis")]
    pub p50: Option<Duration>,
    /// The duration that 95 of 100 did not exceed.
    #[serde(rename = "p95_ms", serialize_with = "millis")]
    pub p95: Option<Duration>,
    /// The duration that 99 of 100 did not exceed.
    #[serde(rename = "p99_ms", serialize_with = "millis")]
    pub p99: Option<Duration>,
}

impl RouteSummary {
    /// Returns how many ended in this class.
    #[must_use]
    pub const fn class(&self, class: Class) -> u64 {
        self.classes[class as usize]
    }
}

fn sum<'a, const N: usize>(counts: impl Iterator<Item = &'a [u64; N]>) -> [u64; N] {
    counts.fold([0; N], |mut sum, counts| {
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += count;
        }
        sum
    })
}

fn routes(shards: &[ShardStats], now: u64) -> Vec<RouteSummary> {
    struct Merged<'a> {
        stats: &'a RouteStats,
        classes: [u64; Class::ALL.len()],
        unrecorded: Vec<u32>,
    }

    let mut merged = BTreeMap::new();
    for route in shards.iter().flat_map(|shard| &shard.routes) {
        let merged = merged
            .entry(Arc::as_ptr(&route.stats))
            .or_insert_with(|| Merged {
                stats: &route.stats,
                classes: [0; Class::ALL.len()],
                unrecorded: Vec::new(),
            });
        merged.classes = sum([&merged.classes, &route.classes].into_iter());
        merged.unrecorded.extend_from_slice(route.unrecorded());
    }
    let mut routes: Vec<RouteSummary> = merged
        .into_values()
        .map(|route| {
            let quantiles = route.stats.quantiles(now, &route.unrecorded);
            RouteSummary {
                route: route.stats.name.as_ref().into(),
                kind: if route.stats.is_task {
                    Kind::Task
                } else {
                    Kind::Request
                },
                total: route.classes.iter().sum(),
                classes: route.classes,
                p50: quantiles.map(|quantiles| quantiles.p50),
                p95: quantiles.map(|quantiles| quantiles.p95),
                p99: quantiles.map(|quantiles| quantiles.p99),
            }
        })
        .filter(|route| route.total > 0)
        .collect();
    routes.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.route.cmp(&b.route)));
    routes
}

fn by_outcome<S: Serializer>(
    counts: &[u64; OUTCOMES.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    by_name(OUTCOMES.map(Outcome::as_str), counts, serializer)
}

fn by_class<S: Serializer>(
    counts: &[u64; Class::ALL.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    by_name(Class::ALL.map(Class::as_str), counts, serializer)
}

fn by_name<S: Serializer, const N: usize>(
    names: [&str; N],
    counts: &[u64; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(N))?;
    for (name, count) in names.iter().zip(counts) {
        map.serialize_entry(name, count)?;
    }
    map.end()
}
