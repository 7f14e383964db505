use std::sync::Arc;

use tower_ops_observe::Class;

use crate::record::SECOND;
use crate::record::inline_text::bounded;
use crate::record::progress::{End, OUTCOMES};
use crate::stats::quantiles;
use crate::stats::routes::{Claim, LONGEST_NAME, Names, RouteStats, RouteTable};

/// The counts of one shard. Merged by [`stats`](crate::RequestTracker::stats).
#[derive(Clone)]
pub(crate) struct ShardStats {
    pub(crate) outcomes: [u64; OUTCOMES.len()],
    pub(crate) classes: [u64; Class::ALL.len()],
    pub(crate) seconds: Seconds,
    /// `{other}` is the first.
    pub(crate) routes: Vec<RouteCounts>,
    /// Indices of `routes`, by whether it is a task.
    places: [Names<usize>; 2],
    /// Indices of routes that were found lately: quicker than the map.
    recent: [usize; RECENT],
    /// Whether this shard knows all routes that there will ever be.
    complete: bool,
}

/// One route in one shard.
#[derive(Clone)]
pub(crate) struct RouteCounts {
    pub(crate) stats: Arc<RouteStats>,
    pub(crate) classes: [u64; Class::ALL.len()],
    /// Durations in microseconds. They are recorded together, as the histogram's lock is shared by
    /// all shards.
    samples: [u32; SAMPLES],
    sampled: usize,
}

const SAMPLES: usize = 32;

impl ShardStats {
    /// The most bytes with `{other}` alone.
    pub(crate) const MOST_BYTES: usize = size_of::<Self>() + 2 * size_of::<RouteCounts>();
    /// The most bytes of a route in one shard: its counts, twice as they grow by doubling, and its
    /// entry in the map at the least load.
    pub(crate) const MOST_BYTES_BY_ROUTE: usize =
        2 * size_of::<RouteCounts>() + 4 * (size_of::<(Arc<str>, usize)>() + 1);

    pub(crate) fn new(table: &RouteTable) -> Self {
        Self {
            outcomes: [0; OUTCOMES.len()],
            classes: [0; Class::ALL.len()],
            seconds: Seconds::new(),
            routes: vec![RouteCounts::new(Arc::clone(table.other()))],
            places: Default::default(),
            recent: [0; RECENT],
            complete: false,
        }
    }

    pub(crate) fn count(&mut self, ending: &Counted<'_>, table: &RouteTable) {
        self.outcomes[ending.end.outcome as usize] += 1;
        self.classes[ending.end.class as usize] += 1;
        self.seconds.count(ending.ended / SECOND);
        let recent = recent(ending.route);
        let mut place = self.recent[recent];
        if !self.routes[place].is_of(ending) {
            place = self
                .place(ending.route, ending.is_task)
                .unwrap_or_else(|| self.learn(ending, table));
            self.recent[recent] = place;
        }
        self.routes[place].count(ending);
    }

    fn place(&self, route: &str, is_task: bool) -> Option<usize> {
        self.places[usize::from(is_task)].get(route).copied()
    }

    #[cold]
    fn learn(&mut self, ending: &Counted<'_>, table: &RouteTable) -> usize {
        const OTHER: usize = 0;
        let name = bounded(ending.route, LONGEST_NAME);
        if let Some(place) = self.place(name, ending.is_task) {
            return place;
        }
        if self.complete {
            return OTHER;
        }
        match table.claim(name, ending.is_task, ending.ended) {
            Claim::Own(stats) => self.add(stats),
            Claim::Full(all) => {
                self.complete = true;
                for stats in all {
                    if self.place(&stats.name, stats.is_task).is_none() {
                        self.add(stats);
                    }
                }
                self.place(name, ending.is_task).unwrap_or(OTHER)
            }
        }
    }

    fn add(&mut self, stats: Arc<RouteStats>) -> usize {
        let place = self.routes.len();
        self.places[usize::from(stats.is_task)].insert(Arc::clone(&stats.name), place);
        self.routes.push(RouteCounts::new(stats));
        place
    }
}

const RECENT: usize = 32;

/// Finds a place by the address of the text: a route is nearly always a clone of the router's own.
/// Whether it is the same route, the caller checks by the text.
fn recent(route: &str) -> usize {
    (route.as_ptr().addr() >> 4) % RECENT
}

/// What is counted of one ending.
pub(crate) struct Counted<'a> {
    pub(crate) end: End,
    pub(crate) route: &'a str,
    pub(crate) is_task: bool,
    pub(crate) duration: u64,
    pub(crate) ended: u64,
}

impl RouteCounts {
    const fn new(stats: Arc<RouteStats>) -> Self {
        Self {
            stats,
            classes: [0; Class::ALL.len()],
            samples: [0; SAMPLES],
            sampled: 0,
        }
    }

    fn is_of(&self, ending: &Counted<'_>) -> bool {
        self.stats.is_task == ending.is_task && *self.stats.name == *ending.route
    }

    fn count(&mut self, ending: &Counted<'_>) {
        self.classes[ending.end.class as usize] += 1;
        self.samples[self.sampled] = quantiles::micros(ending.duration);
        self.sampled += 1;
        if self.sampled == SAMPLES {
            self.stats.record(ending.ended, &self.samples);
            self.sampled = 0;
        }
    }

    pub(crate) fn unrecorded(&self) -> &[u32] {
        &self.samples[..self.sampled]
    }
}

/// How many endings there were in each of the last seconds.
#[derive(Clone)]
pub(crate) struct Seconds([Second; SLOTS]);

/// A minute, and a few for the running second and for clocks that differ.
const SLOTS: usize = 64;

#[derive(Clone, Copy)]
struct Second {
    at: u64,
    count: u64,
}

impl Seconds {
    const fn new() -> Self {
        Self([Second { at: 0, count: 0 }; SLOTS])
    }

    fn count(&mut self, at: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "the mask cuts it anyway")]
        let slot = &mut self.0[at as usize & (SLOTS - 1)];
        if slot.at == at {
            slot.count += 1;
        } else if slot.at < at {
            *slot = Second { at, count: 1 };
        }
    }

    /// How many ended in the whole seconds before the running one.
    pub(crate) fn before(&self, now: u64, seconds: u64) -> u64 {
        let wanted = now.saturating_sub(seconds)..now;
        let slots = self.0.iter().filter(|slot| wanted.contains(&slot.at));
        slots.map(|slot| slot.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_counted_whole_and_forgotten_after_a_minute() {
        let mut seconds = Seconds::new();
        for (at, times) in [(0, 5), (9, 2), (10, 1)] {
            for _ in 0..times {
                seconds.count(at);
            }
        }
        assert_eq!(seconds.before(10, 1), 2);
        assert_eq!(seconds.before(10, 10), 7);
        assert_eq!(seconds.before(11, 1), 1);
        assert_eq!(seconds.before(60, 60), 8);
        assert_eq!(seconds.before(61, 60), 3);
        assert_eq!(seconds.before(1_000, 60), 0);
    }

    #[test]
    fn a_slot_is_used_again_for_a_later_second_only() {
        let mut seconds = Seconds::new();
        seconds.count(1);
        seconds.count(1 + SLOTS as u64);
        seconds.count(1); // a straggler
        assert_eq!(seconds.before(2 + SLOTS as u64, 1), 1);
    }
}
