//! Lines that wait for the thread: bytes in shards, one for each thread of a few.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tower_ops_core::sync::Mutex;
use tracing::Level;

use super::losses::{LEVELS, index};
use crate::format::{IdPlace, MAX_LINE};
use crate::stamp::Stamp;

const MAX_SHARDS: usize = 16;
/// The least bytes of a shard: several lines of the greatest length.
const MIN_SHARD: usize = 8 * MAX_LINE;

/// A bounded queue. Threads have shards of their own, as long as there are not many.
pub(crate) struct Queue {
    shards: Box<[Shard]>,
    /// To how many bytes a shard may be filled by lines of a level.
    limits: [usize; 5],
}

/// Two cache lines, as prefetchers take them.
#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Vec<u8>>);

/// A line in the queue.
pub(crate) struct Waiting<'a> {
    pub(crate) at: Stamp,
    pub(crate) level: Level,
    pub(crate) line: &'a [u8],
    pub(crate) id: IdPlace,
}

/// What stands before each line.
const HEAD: usize = 17;

impl Queue {
    /// Holds that many bytes at most. Lines of a level are dropped where it is full to that many
    /// percent.
    pub(crate) fn new(bytes: usize, percents: [u8; 5]) -> Self {
        let shards = thread::available_parallelism().map_or(1, NonZero::get);
        let shards = shards.min(MAX_SHARDS).min(bytes / MIN_SHARD).max(1);
        let each = bytes / shards;
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            limits: percents.map(|percent| each / 100 * usize::from(percent)),
        }
    }

    /// Leaves room for what stands before a line.
    pub(crate) fn begin(line: &mut Vec<u8>) {
        line.extend_from_slice(&[0; HEAD]);
    }

    /// Appends a line that was [begun](Self::begin), if there is room for one of its level.
    pub(crate) fn push(&self, level: Level, at: Stamp, line: &mut [u8], id: IdPlace) -> bool {
        let index = index(level);
        // A line is shorter.
        let length = line.len().saturating_sub(HEAD) as u32;
        let Some(head) = line.first_chunk_mut::<HEAD>() else {
            return false;
        };
        head[..8].copy_from_slice(&at.0.to_le_bytes());
        head[8..12].copy_from_slice(&length.to_le_bytes());
        // The place was one with the head.
        let begin = id.begin.saturating_sub(HEAD as u16);
        head[12..14].copy_from_slice(&begin.to_le_bytes());
        head[14..16].copy_from_slice(&id.length.to_le_bytes());
        head[16] = index as u8;
        let mut shard = self.shards[shard_of_thread() % self.shards.len()].0.lock();
        if shard.len() + line.len() > self.limits[index] {
            return false;
        }
        shard.extend_from_slice(line);
        true
    }

    /// Takes everything, and leaves the buffers there, which are as many.
    pub(crate) fn take(&self, buffers: &mut Vec<Vec<u8>>) {
        buffers.resize_with(self.shards.len(), Vec::new);
        for (shard, buffer) in self.shards.iter().zip(buffers) {
            buffer.clear();
            std::mem::swap(&mut *shard.0.lock(), buffer);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.0.lock().is_empty())
    }

    pub(crate) fn for_each_waiting(&self, mut each: impl FnMut(&[u8], IdPlace)) {
        for shard in &self.shards {
            let bytes = shard.0.lock().clone();
            let mut rest = &bytes[..];
            while let Some((waiting, after)) = read(rest) {
                each(waiting.line, waiting.id);
                rest = after;
            }
        }
    }
}

/// Calls with the lines of all buffers, in the order of their times.
pub(crate) fn in_order(buffers: &[Vec<u8>], mut each: impl FnMut(&Waiting<'_>)) {
    let mut heads = [const { None }; MAX_SHARDS];
    for (head, buffer) in heads.iter_mut().zip(buffers) {
        *head = read(buffer);
    }
    loop {
        let heads = heads[..buffers.len()].iter_mut();
        let waiting = heads.filter(|head| head.is_some());
        let next = waiting.min_by_key(|head| head.as_ref().map(|(waiting, _)| waiting.at));
        let Some((waiting, after)) = next.and_then(|head| {
            let (waiting, after) = head.take()?;
            *head = read(after);
            Some((waiting, after))
        }) else {
            return;
        };
        let _: &[u8] = after;
        each(&waiting);
    }
}

/// Reads the first line.
fn read(bytes: &[u8]) -> Option<(Waiting<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    let (line, rest) = rest.split_at_checked(length as usize)?;
    let (at, _) = head.split_first_chunk::<8>()?;
    let waiting = Waiting {
        at: Stamp(u64::from_le_bytes(*at)),
        level: *LEVELS.get(usize::from(head[16]))?,
        line,
        id: IdPlace {
            begin: u16_at(12),
            length: u16_at(14),
        },
    };
    Some((waiting, rest))
}

fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    SHARD
        .try_with(|shard| {
            if shard.get() == usize::MAX {
                shard.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            shard.get()
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &Queue, level: Level, at: u64, line: &[u8]) -> bool {
        let mut begun = Vec::new();
        Queue::begin(&mut begun);
        begun.extend_from_slice(line);
        let id = IdPlace {
            begin: HEAD as u16 + 1,
            length: 2,
        };
        queue.push(level, Stamp(at), &mut begun, id)
    }

    #[test]
    fn a_level_is_dropped_before_those_above_it() {
        let queue = Queue::new(MIN_SHARD, [100, 100, 80, 50, 50]);
        let line = [b'x'; 1000];
        let room = |level| (0..).take_while(|_| push(&queue, level, 1, &line)).count();
        let each = HEAD + line.len();
        let until = |percent| MIN_SHARD / 100 * percent / each;
        assert_eq!(room(Level::TRACE), until(50));
        assert_eq!(room(Level::DEBUG), 0);
        assert_eq!(room(Level::INFO), until(80) - until(50));
        assert_eq!(room(Level::ERROR), until(100) - until(80));
        assert_eq!(room(Level::WARN), 0);
        let mut buffers = Vec::new();
        queue.take(&mut buffers);
        assert!(queue.is_empty());
        let mut lines = 0;
        in_order(&buffers, |waiting| {
            assert_eq!(waiting.line, line);
            assert_eq!(
                waiting.id,
                IdPlace {
                    begin: 1,
                    length: 2
                }
            );
            lines += 1;
        });
        assert_eq!(lines, until(100));
        assert!(push(&queue, Level::TRACE, 1, &line));
    }

    #[test]
    fn lines_of_all_shards_come_out_by_their_times() {
        let shard = |times: &[u64]| {
            let queue = Queue::new(MIN_SHARD, [100; 5]);
            for at in times {
                assert!(push(&queue, Level::INFO, *at, b"abc"));
            }
            let mut buffers = Vec::new();
            queue.take(&mut buffers);
            buffers.remove(0)
        };
        let buffers = [
            shard(&[1, 4, 6]),
            shard(&[]),
            shard(&[2, 2, 5]),
            shard(&[3]),
        ];
        let mut times = Vec::new();
        in_order(&buffers, |waiting| times.push(waiting.at.0));
        assert_eq!(times, [1, 2, 2, 3, 4, 5, 6]);
    }
}
