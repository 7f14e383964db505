//! The reaper over records without sockets, for the benchmark. Not part of the API.

#![expect(clippy::disallowed_types, reason = "measures, and no runtime is there")]

use std::time::{Duration, Instant};

use crate::close::reaper::Pass;
use crate::connections::registration::Listed;
use crate::connections::shards::SHARDS;
use crate::{Connections, Peer};

/// Connections that are only listed.
#[allow(missing_debug_implementations, reason = "not part of the API")]
pub struct Records {
    connections: Connections,
    listed: Vec<Listed>,
    opened: Duration,
}

impl Records {
    /// Lists that many.
    ///
    /// # Panics
    ///
    /// If there is a limit to them.
    #[must_use]
    pub fn list(count: usize) -> Self {
        let connections = Connections::builder()
            .first_byte_timeout(None)
            .build()
            .expect("valid");
        let listed = (0..count).map(|_| list_one(&connections)).collect();
        Self {
            opened: connections.shared.clock.now(),
            connections,
            listed,
        }
    }

    /// A pass, so long after they were listed; how long it took, and how long the
    /// slowest shard, which is locked meanwhile.
    #[must_use]
    pub fn pass(&self, after: Duration) -> (Duration, Duration) {
        let mut pass = Pass::default();
        let begun = Instant::now();
        let mut slowest = Duration::ZERO;
        for shard in 0..SHARDS {
            let begun = Instant::now();
            pass.look_at(&self.connections.shared, shard, self.opened + after);
            slowest = slowest.max(begun.elapsed());
        }
        (begun.elapsed(), slowest)
    }

    /// Lists and forgets another one.
    pub fn come_and_go(&self) {
        drop(list_one(&self.connections));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

fn list_one(connections: &Connections) -> Listed {
    let room = crate::Room::for_bench(connections);
    room.admit(&(), Peer::Unknown).expect("no limit")
}
