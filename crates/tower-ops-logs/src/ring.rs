//! The last lines, to be found by request id.

use std::collections::VecDeque;

use tower_ops_core::sync::Mutex;

use crate::format::IdPlace;

pub(crate) mod service;

/// What each line costs beside its bytes.
const OVERHEAD: usize = 64;

/// A bounded number of bytes of the last lines. Filled by the writer's thread.
pub(crate) struct Ring {
    limit: usize,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    line: Box<[u8]>,
    id: IdPlace,
}

impl Kept {
    const fn cost(&self) -> usize {
        self.line.len() + OVERHEAD
    }
}

impl Ring {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            lines: Mutex::default(),
        }
    }

    /// Keeps a line, and drops the oldest ones for it.
    pub(crate) fn push(&self, line: &[u8], id: IdPlace) {
        let kept = Kept {
            line: line.into(),
            id,
        };
        let mut lines = self.lines.lock();
        lines.bytes += kept.cost();
        lines.lines.push_back(kept);
        while lines.bytes > self.limit {
            let Some(oldest) = lines.lines.pop_front() else {
                return;
            };
            lines.bytes -= oldest.cost();
        }
    }

    pub(crate) fn for_each(&self, mut each: impl FnMut(&[u8], IdPlace)) {
        for kept in &self.lines.lock().lines {
            each(&kept.line, kept.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_make_room() {
        let ring = Ring::new(3 * (10 + OVERHEAD));
        for number in 0..10 {
            ring.push(format!("line {number:>4}\n").as_bytes(), IdPlace::default());
        }
        let mut kept = Vec::new();
        ring.for_each(|line, _| kept.push(String::from_utf8(line.to_vec()).unwrap()));
        assert_eq!(kept, ["line    7\n", "line    8\n", "line    9\n"]);
        // One that is larger than everything leaves nothing.
        ring.push(&[b'x'; 4096], IdPlace::default());
        let mut left = 0;
        ring.for_each(|_, _| left += 1);
        assert_eq!(left, 0);
    }
}
