use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tower_ops_observe::{Class, Route};

use crate::history::{Pace, Ring, Spare};
use crate::live::Live;
use crate::outcome::Kind;
use crate::progress::{End, Progress};
use crate::query::Cursor;
use crate::record::{Record, nanos};
use crate::reservoir::{FAILED, Reservoir, SLOWEST};
use crate::routes::RouteTable;
use crate::shard_stats::{Counted, ShardStats};
use crate::shards::Shards;

/// Everything that is in flight, and what is kept of what ended.
pub(crate) struct Registry {
    shards: Shards<Shard>,
    epoch: Instant,
    pub(crate) routes: RouteTable,
    pace: Pace,
    keeps_history: bool,
    /// A bit for each kind.
    exempt: u8,
    /// How many wait for idleness; whoever ends the last request of a shard looks.
    waiting: AtomicUsize,
    idle: Notify,
}

/// What one shard has: all of it behind one lock, which an exchange takes once
/// when it begins and once when it ends.
struct Shard {
    live: Live,
    ring: Ring,
    reservoir: Reservoir,
    stats: ShardStats,
    spare: Spare,
}

/// Where a record stands in the registry. Whoever holds it takes it out, from
/// any thread.
#[derive(Debug)]
pub(crate) struct Seat {
    shard: usize,
    key: usize,
}

static UNMATCHED: Route = Route::UNMATCHED;

/// How a piece of work ended, and so long after its start.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) duration: Duration,
}

/// How many slots a reader goes through before it lets requests take the lock.
const PART: usize = 512;

impl Registry {
    pub(crate) fn new(max_history: Option<usize>, max_routes: usize, exempt: &[Kind]) -> Self {
        let epoch = Instant::now();
        let routes = RouteTable::new(max_routes, 0);
        let shards = Shards::new(|| Shard {
            live: Live::new(),
            ring: Ring::new(),
            reservoir: Reservoir::new(0),
            stats: ShardStats::new(&routes),
            spare: Spare::new(),
        });
        Self {
            pace: Pace::new(max_history.unwrap_or(0), shards.len()),
            shards,
            epoch,
            routes,
            keeps_history: max_history.is_some(),
            exempt: exempt.iter().fold(0, |set, kind| set | 1 << *kind as u8),
            waiting: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }

    /// Makes the record of a piece of work, which `fill` fills, and takes it in.
    #[inline]
    pub(crate) fn begin(
        &self,
        kind: Kind,
        started: Instant,
        fill: impl FnOnce(&mut Record),
    ) -> (Arc<Record>, Seat) {
        let started = self.since_epoch(started);
        let fill = |record: &mut Record| {
            record.begin(kind, started);
            fill(record);
        };
        let place = self.shards.mine();
        let mut shard = self.shards.lock(place);
        let record = if let Some(mut record) = shard.spare.pop()
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
        let key = shard.live.insert(Arc::clone(&record), awaited);
        drop(shard);
        (record, Seat { shard: place, key })
    }

    /// A piece of work turned out to be of another kind.
    pub(crate) fn change_kind(&self, seat: &Seat, kind: Kind) {
        let awaited = self.is_awaited(kind);
        let mut shard = self.shards.lock(seat.shard);
        let last = shard.live.await_it(seat.key, awaited);
        drop(shard);
        self.wake_if(last);
    }

    /// Takes a record out, and keeps what there is to keep of it.
    pub(crate) fn end(&self, seat: &Seat, record: Arc<Record>, progress: Progress, ending: Ended) {
        let duration = nanos(ending.duration);
        record.end(duration, progress, ending.end);
        let me = self.shards.mine();
        let mut shard = self.shards.lock(me);
        let told = self.keep(&mut shard, me, record, progress.kind, ending.end, duration);
        // History first: who finds nothing in flight finds all of it in there.
        let (removed, last) = if seat.shard == me {
            shard.live.remove(seat.key)
        } else {
            drop(shard);
            shard = self.shards.lock(seat.shard);
            shard.live.remove(seat.key)
        };
        if !self.keeps_history
            && let Some(removed) = removed
        {
            shard.spare.push(removed); // nobody else has it now
        }
        drop(shard);
        self.wake_if(last);
        if let Some(told) = told
            && let Some(ward) = self.pace.ward(told, me)
            // Who has the lock trims its ring itself.
            && let Some(mut shard) = self.shards.try_lock(ward)
        {
            let Shard { ring, spare, .. } = &mut *shard;
            ring.trim(told, &self.pace, ward, spare);
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
        // A stream is slow by its nature, and a task may be.
        if kind == Kind::Request {
            shard.reservoir.offer_slow(&record, duration, ended);
        }
        if matches!(end.class, Class::ServerError | Class::Timeout) {
            shard.reservoir.push_failed(&record, ended);
        }
        let Shard { ring, spare, .. } = shard;
        ring.push(record, &self.pace, me, spare)
    }

    fn is_awaited(&self, kind: Kind) -> bool {
        self.exempt & (1 << kind as u8) == 0
    }
}

/// Reading: one shard at a time, and never for long.
impl Registry {
    /// Now, in nanoseconds since the registry was made, as all times in here.
    pub(crate) fn now(&self) -> u64 {
        self.since_epoch(Instant::now())
    }

    fn since_epoch(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.epoch))
    }

    pub(crate) fn in_flight(&self) -> usize {
        let lens = (0..self.shards.len()).map(|place| self.shards.lock(place).live.len());
        lens.sum()
    }

    /// When the oldest one in flight started.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let mut oldest = u64::MAX;
        self.each_live(|started, _| {
            oldest = oldest.min(started);
            None::<()>
        });
        (oldest < u64::MAX).then_some(oldest)
    }

    /// What `pick` makes of the entries in flight, in no order.
    pub(crate) fn each_live<T>(
        &self,
        mut pick: impl FnMut(u64, &Arc<Record>) -> Option<T>,
    ) -> Vec<T> {
        let mut picked = Vec::new();
        for place in 0..self.shards.len() {
            let mut from = 0;
            loop {
                let shard = self.shards.lock(place);
                let (entries, more) = shard.live.part(from, PART);
                picked.extend(entries.filter_map(|entry| pick(entry.started, &entry.record)));
                if !more {
                    break;
                }
                from += PART;
            }
        }
        picked
    }

    /// Those in flight that are not over yet, the oldest first.
    pub(crate) fn live(&self) -> Vec<Arc<Record>> {
        let mut records =
            self.each_live(|started, record| Some((started, record.id, Arc::clone(record))));
        // Stable, as that one makes use of what stands in order already.
        records.sort_by_key(|(started, id, _)| (*started, *id));
        records.into_iter().map(|(_, _, record)| record).collect()
    }

    /// The oldest in flight after a place, and the place to go on from if there
    /// are more.
    pub(crate) fn page(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> (Vec<Arc<Record>>, Option<Cursor>) {
        let mut found = self.each_live(|started, record| {
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

    /// The last endings, the latest first.
    pub(crate) fn history(&self) -> Vec<Arc<Record>> {
        let mut records = Vec::new();
        for place in 0..self.shards.len() {
            let shard = self.shards.lock(place);
            records.extend(shard.ring.iter().map(Arc::clone));
        }
        sort_latest_first(&mut records);
        records.truncate(self.pace.max());
        records
    }

    /// The slowest requests of the last minutes, the slowest first.
    pub(crate) fn slowest(&self) -> Vec<Arc<Record>> {
        let now = self.now();
        let mut records = Vec::new();
        for place in 0..self.shards.len() {
            let mut shard = self.shards.lock(place);
            records.extend(shard.reservoir.slowest(now).map(Arc::clone));
        }
        records.sort_by_cached_key(|record| std::cmp::Reverse(record.duration()));
        records.truncate(SLOWEST);
        records
    }

    /// What failed in the last minutes, the latest first.
    pub(crate) fn failed(&self) -> Vec<Arc<Record>> {
        let now = self.now();
        let mut records = Vec::new();
        for place in 0..self.shards.len() {
            let mut shard = self.shards.lock(place);
            records.extend(shard.reservoir.failed(now).map(Arc::clone));
        }
        sort_latest_first(&mut records);
        records.truncate(FAILED);
        records
    }

    /// A copy of each shard's counts.
    pub(crate) fn stats(&self) -> Vec<ShardStats> {
        let copies = (0..self.shards.len()).map(|place| self.shards.lock(place).stats.clone());
        copies.collect()
    }
}

fn sort_latest_first(records: &mut [Arc<Record>]) {
    records.sort_by_cached_key(|record| std::cmp::Reverse((record.ended(), record.id)));
}

/// Idleness.
impl Registry {
    /// Waits until there is a moment with nothing in flight but what is exempt.
    pub(crate) async fn wait_idle(&self) {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            // From here on no wake-up is missed: whoever takes the last entry out
            // of a shard after we have seen it in there has to take the shard's
            // lock after us, and so finds that we wait.
            idle.as_mut().enable();
            if self.is_idle() {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        let is_empty = |shard: &Shard| shard.live.awaited() == 0;
        if !(0..self.shards.len()).all(|place| is_empty(&self.shards.lock(place))) {
            return false;
        }
        // One by one they may have been empty at different times.
        self.shards.lock_all().iter().all(|shard| is_empty(shard))
    }

    /// Those that a shutdown waits for, the oldest first.
    pub(crate) fn awaited(&self) -> Vec<Arc<Record>> {
        let mut records = self.live();
        records.retain(|record| {
            let progress = record.progress();
            progress.end.is_none() && self.is_awaited(progress.kind)
        });
        records
    }

    fn wake_if(&self, last: bool) {
        if last && self.waiting.load(Ordering::Relaxed) > 0 {
            self.idle.notify_waiters();
        }
    }
}

/// Counts a waiter for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
