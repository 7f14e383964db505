use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Record;

/// How many endings a shard keeps to itself before it tells the others.
const BATCH: usize = 32;

/// What the rings of all shards share: how many endings there were.
///
/// Any shard may have had all of the last `max`, so that each has to be able to
/// keep as many. But what lies in an idle shard grows old: everyone who tells a
/// batch of endings also looks after one other shard, and drops what is certain
/// to be no longer among the last `max`. Together the shards hold at most
/// `max + 3 * shards * BATCH` records, and not `max * shards`.
pub(crate) struct Pace {
    told: AtomicU64,
    /// What was told with the first batch of each shard, so that who looks after
    /// it need not lock it to see that there is nothing to do.
    firsts: Box<[First]>,
    max: usize,
    /// After so many told endings a batch is out: `max`, and what could stand
    /// untold in each shard when it was told.
    reach: u64,
}

/// On a cache line of its own.
#[repr(align(128))]
struct First(AtomicU64);

impl Pace {
    pub(crate) fn new(max: usize, shards: usize) -> Self {
        let none = || First(AtomicU64::new(u64::MAX));
        Self {
            told: AtomicU64::new(0),
            firsts: (0..shards).map(|_| none()).collect(),
            max,
            reach: (max + shards * BATCH) as u64,
        }
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// The most records that the rings of so many shards keep.
    pub(crate) const fn bound(max: usize, shards: usize) -> usize {
        let together = max + 3 * shards * BATCH;
        let each = shards * (max + 2 * BATCH);
        if together < each { together } else { each }
    }

    /// The shard to look after, `me` excluded, if it has something to drop.
    pub(crate) fn ward(&self, told: u64, me: usize) -> Option<usize> {
        // Whoever tells, all shards take their turns.
        let turn = told / BATCH as u64;
        #[expect(clippy::cast_possible_truncation, reason = "it is less than `shards`")]
        let ward = (turn % self.firsts.len() as u64) as usize;
        let is_due = ward != me && self.is_out(self.firsts[ward].0.load(Ordering::Relaxed), told);
        is_due.then_some(ward)
    }

    const fn is_out(&self, batch: u64, told: u64) -> bool {
        batch.saturating_add(self.reach) <= told
    }
}

/// Records that a shard has no more use for, to be used again unless somebody
/// still looks at them: with them an exchange costs no allocation, and no copy of
/// a whole record.
pub(crate) struct Spare(Vec<Arc<Record>>);

impl Spare {
    /// As many as are dropped at once.
    pub(crate) const MOST: usize = BATCH;

    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn pop(&mut self) -> Option<Arc<Record>> {
        self.0.pop()
    }

    pub(crate) fn push(&mut self, record: Arc<Record>) {
        if self.0.len() < Self::MOST {
            self.0.push(record);
        }
    }
}

/// The last endings of one shard, in their order.
pub(crate) struct Ring {
    records: VecDeque<Arc<Record>>,
    /// How many endings were told with each batch in `records`: no more were told
    /// when any of its records came in.
    batches: VecDeque<u64>,
    /// How many of the last records belong to no batch yet.
    untold: usize,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        Self {
            records: VecDeque::new(),
            batches: VecDeque::new(),
            untold: 0,
        }
    }

    /// What one takes for itself, on the heap, at most: it grows by doubling.
    pub(crate) const fn most_bytes(max: usize) -> usize {
        2 * (max + 2 * BATCH) * size_of::<Arc<Record>>() + 4 * (max / BATCH + 4) * size_of::<u64>()
    }

    /// Returns how many endings are told if it is this one's turn to look after
    /// another shard.
    pub(crate) fn push(
        &mut self,
        record: Arc<Record>,
        pace: &Pace,
        me: usize,
        spare: &mut Spare,
    ) -> Option<u64> {
        self.records.push_back(record);
        self.untold += 1;
        (self.untold == BATCH).then(|| self.tell(pace, me, spare))
    }

    fn tell(&mut self, pace: &Pace, me: usize, spare: &mut Spare) -> u64 {
        const ONE: u64 = BATCH as u64;
        self.untold = 0;
        let told = pace.told.fetch_add(ONE, Ordering::Relaxed) + ONE;
        self.batches.push_back(told);
        while self.records.len() >= pace.max + BATCH {
            self.drop_batch(spare);
        }
        self.trim(told, pace, me, spare);
        told
    }

    /// Drops what is no longer among the last of all shards.
    pub(crate) fn trim(&mut self, told: u64, pace: &Pace, me: usize, spare: &mut Spare) {
        while let Some(first) = self.batches.front()
            && pace.is_out(*first, told)
        {
            self.drop_batch(spare);
        }
        let first = self.batches.front().copied().unwrap_or(u64::MAX);
        pace.firsts[me].0.store(first, Ordering::Relaxed);
        // Room that was needed once, by a burst, is not kept for ever.
        if self.records.capacity() > 8 * BATCH && self.records.len() < self.records.capacity() / 8 {
            self.records.shrink_to(2 * self.records.len());
        }
    }

    fn drop_batch(&mut self, spare: &mut Spare) {
        self.batches.pop_front();
        let batch = ..BATCH.min(self.records.len());
        self.records
            .drain(batch)
            .for_each(|record| spare.push(record));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.iter()
    }
}
