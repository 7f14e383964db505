use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Record;

/// How many endings a shard has before it adds them to the clock.
const BATCH: usize = 32;

/// Counts endings in batches, for the rings of all shards. See [`history`](crate::history).
pub(crate) struct HistoryClock {
    published: AtomicU64,
    /// The stamp of each shard's first batch. A neighbour reads it to see, without the shard's
    /// lock, that there is nothing to drop.
    firsts: Box<[First]>,
    max: usize,
    /// How far the clock has to be past a batch's stamp for the batch to be out: `max`, and what
    /// each shard may have had unpublished at the time of the stamp.
    horizon: u64,
}

/// On a cache line of its own.
#[repr(align(128))]
struct First(AtomicU64);

impl HistoryClock {
    pub(crate) fn new(max: usize, shards: usize) -> Self {
        let none = || First(AtomicU64::new(u64::MAX));
        Self {
            published: AtomicU64::new(0),
            firsts: (0..shards).map(|_| none()).collect(),
            max,
            horizon: (max + shards * BATCH) as u64,
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

    /// The shard to trim, if it is not `me` and has something to drop.
    pub(crate) fn neighbour(&self, published: u64, me: usize) -> Option<usize> {
        // All shards take their turns, whichever shard publishes.
        let turn = published / BATCH as u64;
        #[expect(clippy::cast_possible_truncation, reason = "it is less than `shards`")]
        let neighbour = (turn % self.firsts.len() as u64) as usize;
        let is_due = neighbour != me
            && self.is_out(self.firsts[neighbour].0.load(Ordering::Relaxed), published);
        is_due.then_some(neighbour)
    }

    const fn is_out(&self, stamp: u64, published: u64) -> bool {
        stamp.saturating_add(self.horizon) <= published
    }
}

/// Records that a shard no longer keeps, to be used again unless a handle still holds them. With
/// them an exchange allocates nothing and copies no whole record.
pub(crate) struct FreeList(Vec<Arc<Record>>);

impl FreeList {
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
    /// The stamps of the batches in `records`.
    stamps: VecDeque<u64>,
    /// How many of the last records belong to no batch yet.
    unpublished: usize,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        Self {
            records: VecDeque::new(),
            stamps: VecDeque::new(),
            unpublished: 0,
        }
    }

    /// The most bytes of its own buffers on the heap. They grow by doubling.
    pub(crate) const fn most_bytes(max: usize) -> usize {
        2 * (max + 2 * BATCH) * size_of::<Arc<Record>>() + 4 * (max / BATCH + 4) * size_of::<u64>()
    }

    /// Returns the clock's count if this record completed a batch: then the caller trims the
    /// neighbour.
    pub(crate) fn push(
        &mut self,
        record: Arc<Record>,
        clock: &HistoryClock,
        me: usize,
        free: &mut FreeList,
    ) -> Option<u64> {
        self.records.push_back(record);
        self.unpublished += 1;
        (self.unpublished == BATCH).then(|| self.publish(clock, me, free))
    }

    fn publish(&mut self, clock: &HistoryClock, me: usize, free: &mut FreeList) -> u64 {
        const ONE: u64 = BATCH as u64;
        self.unpublished = 0;
        let published = clock.published.fetch_add(ONE, Ordering::Relaxed) + ONE;
        self.stamps.push_back(published);
        while self.records.len() >= clock.max + BATCH {
            self.drop_batch(free);
        }
        self.trim(published, clock, me, free);
        published
    }

    /// Drops the batches that are no longer among the last `max` of all shards.
    pub(crate) fn trim(
        &mut self,
        published: u64,
        clock: &HistoryClock,
        me: usize,
        free: &mut FreeList,
    ) {
        while let Some(first) = self.stamps.front()
            && clock.is_out(*first, published)
        {
            self.drop_batch(free);
        }
        let first = self.stamps.front().copied().unwrap_or(u64::MAX);
        clock.firsts[me].0.store(first, Ordering::Relaxed);
        // A burst needed this room once: it is given back.
        if self.records.capacity() > 8 * BATCH && self.records.len() < self.records.capacity() / 8 {
            self.records.shrink_to(2 * self.records.len());
        }
    }

    fn drop_batch(&mut self, free: &mut FreeList) {
        self.stamps.pop_front();
        let batch = ..BATCH.min(self.records.len());
        self.records
            .drain(batch)
            .for_each(|record| free.push(record));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.iter()
    }
}
