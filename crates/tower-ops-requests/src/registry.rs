use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tower_ops_core::shards::Shards;
use tower_ops_observe::{Class, Route};

use self::in_flight::InFlight;
use crate::history::reservoir::Reservoir;
use crate::history::ring::{FreeList, HistoryClock, Ring};
use crate::record::kind::Kind;
use crate::record::progress::{End, Progress};
use crate::record::{Record, nanos};
use crate::stats::routes::RouteTable;
use crate::stats::shard_stats::{Counted, ShardStats};

pub(crate) mod idle;
pub(crate) mod in_flight;

/// Everything that is in flight, and what is kept of what ended.
pub(crate) struct Registry {
    pub(crate) shards: Shards<Shard>,
    epoch: Instant,
    pub(crate) routes: RouteTable,
    pub(crate) clock: HistoryClock,
    keeps_history: bool,
    /// A bit for each kind.
    exempt: u8,
    /// How many tasks wait for idleness. The end of the last request of a shard checks it.
    waiting: AtomicUsize,
    idle: Notify,
}

/// All that one shard has, behind one lock. An exchange takes it once when it begins and once when
/// it ends.
pub(crate) struct Shard {
    in_flight: InFlight,
    pub(crate) ring: Ring,
    pub(crate) reservoir: Reservoir,
    stats: ShardStats,
    free: FreeList,
}

/// Where a record is in the registry. Its holder removes it, from any thread.
#[derive(Debug)]
pub(crate) struct Slot {
    shard: usize,
    key: usize,
}

static UNMATCHED: Route = Route::UNMATCHED;

/// How a piece of work ended, and how long it took.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) duration: Duration,
}

/// How many keys a reader goes through before it lets requests take the lock.
const PART: usize = 512;

impl Registry {
    pub(crate) fn new(max_history: Option<usize>, max_routes: usize, exempt: &[Kind]) -> Self {
        let epoch = Instant::now();
        let routes = RouteTable::new(max_routes, 0);
        let shards = Shards::new(|| Shard {
            in_flight: InFlight::new(),
            ring: Ring::new(),
            reservoir: Reservoir::new(0),
            stats: ShardStats::new(&routes),
            free: FreeList::new(),
        });
        Self {
            clock: HistoryClock::new(max_history.unwrap_or(0), shards.len()),
            shards,
            epoch,
            routes,
            keeps_history: max_history.is_some(),
            exempt: exempt.iter().fold(0, |set, kind| set | 1 << *kind as u8),
            waiting: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }

    /// Registers a new piece of work. `fill` fills its record.
    #[inline]
    pub(crate) fn begin(
        &self,
        kind: Kind,
        started: Instant,
        fill: impl FnOnce(&mut Record),
    ) -> (Arc<Record>, Slot) {
        let started = self.since_epoch(started);
        let fill = |record: &mut Record| {
            record.begin(kind, started);
            fill(record);
        };
        let place = self.shards.mine();
        let mut shard = self.shards.lock(place);
        let record = if let Some(mut record) = shard.free.pop()
            && let Some(unused) = Arc::get_mut(&mut record)
        {
            fill(unused);
            record
        } else {
            let mut record = Record::empty();
            fill(&mut record);
            Arc::new(record)
        };
        let awaited = self.is_awaited(kind);
        let key = shard.in_flight.insert(Arc::clone(&record), awaited);
        drop(shard);
        (record, Slot { shard: place, key })
    }

    /// Changes the kind of a piece of work, which is known only when it runs.
    pub(crate) fn change_kind(&self, slot: &Slot, kind: Kind) {
        let awaited = self.is_awaited(kind);
        let mut shard = self.shards.lock(slot.shard);
        let last = shard.in_flight.set_awaited(slot.key, awaited);
        drop(shard);
        self.wake_if(last);
    }

    /// Removes a record, and keeps what there is to keep of it.
    pub(crate) fn end(&self, slot: &Slot, record: Arc<Record>, progress: Progress, ending: Ended) {
        let duration = nanos(ending.duration);
        record.end(duration, progress, ending.end);
        let me = self.shards.mine();
        let mut shard = self.shards.lock(me);
        let published = self.keep(&mut shard, me, record, progress.kind, ending.end, duration);
        // Into the history first, out of the registry after it: who finds nothing in flight finds
        // all of it in the history.
        let (removed, last) = if slot.shard == me {
            shard.in_flight.remove(slot.key)
        } else {
            drop(shard);
            shard = self.shards.lock(slot.shard);
            shard.in_flight.remove(slot.key)
        };
        if !self.keeps_history
            && let Some(removed) = removed
        {
            shard.free.push(removed); // only handles can still hold it
        }
        drop(shard);
        self.wake_if(last);
        if let Some(published) = published
            && let Some(neighbour) = self.clock.neighbour(published, me)
            // If the lock is held, its holder trims the ring itself.
            && let Some(mut shard) = self.shards.try_lock(neighbour)
        {
            let Shard { ring, free, .. } = &mut *shard;
            ring.trim(published, &self.clock, neighbour, free);
        }
    }

    fn keep(
        &self,
        shard: &mut Shard,
        me: usize,
        record: Arc<Record>,
        kind: Kind,
        end: End,
        duration: u64,
    ) -> Option<u64> {
        let ended = record.started + duration;
        let counted = Counted {
            end,
            route: record.route().unwrap_or(&UNMATCHED).as_str(),
            is_task: kind == Kind::Task,
            duration,
            ended,
        };
        shard.stats.count(&counted, &self.routes);
        if !self.keeps_history {
            return None;
        }
        // Streams are slow by nature, and tasks may be.
        if kind == Kind::Request {
            shard.reservoir.offer_slow(&record, duration, ended);
        }
        if matches!(end.class, Class::ServerError | Class::Timeout) {
            shard.reservoir.push_failed(&record, ended);
        }
        let Shard { ring, free, .. } = shard;
        ring.push(record, &self.clock, me, free)
    }

    fn is_awaited(&self, kind: Kind) -> bool {
        self.exempt & (1 << kind as u8) == 0
    }
}

/// A place in the listing of what is in flight. It stays valid when the work there has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    /// When the work started, since the registry was made.
    pub(crate) nanos: u64,
    /// The id of its record.
    pub(crate) id: u64,
}

/// Readers take one shard's lock at a time, and never for long.
impl Registry {
    /// The time in nanoseconds since the registry was made, as all times in here.
    pub(crate) fn now(&self) -> u64 {
        self.since_epoch(Instant::now())
    }

    fn since_epoch(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.epoch))
    }

    pub(crate) fn in_flight_count(&self) -> usize {
        let lens = (0..self.shards.len()).map(|place| self.shards.lock(place).in_flight.len());
        lens.sum()
    }

    /// When the oldest one in flight started.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let mut oldest = u64::MAX;
        self.each_in_flight(|started, _| {
            oldest = oldest.min(started);
            None::<()>
        });
        (oldest < u64::MAX).then_some(oldest)
    }

    /// What `pick` returns for the entries in flight, in no order.
    pub(crate) fn each_in_flight<T>(
        &self,
        mut pick: impl FnMut(u64, &Arc<Record>) -> Option<T>,
    ) -> Vec<T> {
        let mut picked = Vec::new();
        for place in 0..self.shards.len() {
            let mut from = 0;
            loop {
                let shard = self.shards.lock(place);
                let (entries, more) = shard.in_flight.part(from, PART);
                picked.extend(entries.filter_map(|entry| pick(entry.started, &entry.record)));
                if !more {
                    break;
                }
                from += PART;
            }
        }
        picked
    }

    /// All in flight, the oldest first.
    pub(crate) fn in_flight(&self) -> Vec<Arc<Record>> {
        let mut records =
            self.each_in_flight(|started, record| Some((started, record.id, Arc::clone(record))));
        // The stable sort is quicker here: it uses what is in order already.
        records.sort_by_key(|(started, id, _)| (*started, *id));
        records.into_iter().map(|(_, _, record)| record).collect()
    }

    /// The oldest in flight after a place, and where to go on if there are more.
    pub(crate) fn page(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> (Vec<Arc<Record>>, Option<Cursor>) {
        let mut found = self.each_in_flight(|started, record| {
            let cursor = Cursor {
                nanos: started,
                id: record.id,
            };
            let is_after = after.is_none_or(|after| cursor > after);
            is_after.then(|| (cursor, Arc::clone(record)))
        });
        let more = found.len() > limit;
        if more {
            // Only the page has to be in order.
            found.select_nth_unstable_by_key(limit, |(cursor, _)| *cursor);
            found.truncate(limit);
        }
        found.sort_unstable_by_key(|(cursor, _)| *cursor);
        let next = found.last().map(|(cursor, _)| *cursor).filter(|_| more);
        let records = found.into_iter().map(|(_, record)| record);
        (records.collect(), next)
    }

    /// A copy of each shard's counts.
    pub(crate) fn stats(&self) -> Vec<ShardStats> {
        let copies = (0..self.shards.len()).map(|place| self.shards.lock(place).stats.clone());
        copies.collect()
    }
}
