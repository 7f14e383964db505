//! What is kept of work that ended: the last endings, the slowest, and the failed.
//!
//! No lock and no counter is written by every request of every thread. Each shard keeps its own
//! endings, and a reader merges them. Three parts make that exact and bounded:
//!
//! - **[Ring](ring::Ring), one per shard.** The last endings of this shard, in order. Any shard may
//!   have had all of the last `max` endings of the process, so each ring can hold that many.
//!   Without more care the rings would hold `max * shards` records, most of them in shards that are
//!   idle now.
//! - **[`HistoryClock`](ring::HistoryClock), one per tracker.** It counts endings, in batches: a
//!   shard adds to it once per 32 endings of its own. It shows which batches are too old to be
//!   among the last `max`. The shard that adds a batch also trims one other shard, its neighbour of
//!   that moment; the neighbours take turns. So idle shards are emptied by busy ones, and the rings
//!   together hold at most `max` records and 96 more per shard.
//! - **[Reservoir](reservoir::Reservoir), one per shard.** The slowest and the failed of the last
//!   minutes, apart from the ring, so that a burst of successes does not displace them. Each
//!   reservoir keeps as many as are shown in all: whichever shard they ended on, the right ones are
//!   among them.
//!
//! The [look-up](look_up) takes one shard's lock at a time, copies pointers, and sorts after it.
//!
//! # Why a batch can be dropped
//!
//! A batch is stamped with the clock's count at the moment at which its last record came in, itself
//! included. It is dropped when the clock shows `max + shards * 32` more than the stamp. That many
//! endings were added to the clock after the batch. Up to 32 of each shard may have ended before
//! it, as they were in the shard already, not yet added. At least `max` ended after all of the
//! batch.

pub(crate) mod look_up;
pub(crate) mod reservoir;
pub(crate) mod ring;
