//! The reaper over records without sockets, for the benchmark. Not part of the API.

#![expect(clippy::disallowed_types, reason = "measures, and no runtime is there")]

use std::time::{Duration, Instant};

use crate::close::reaper::Pass;
use crate::connections::registration::Registration;
use crate::connections::shards::SHARDS;
use crate::{Connections, Peer};

/// Connections that are only registered.
#[allow(missing_debug_implementations, reason = "not part of the API")]
pub struct Records {
    connections: Connections,
    registrations: Vec<Registration>,
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
        let registrations = (0..count).map(|_| list_one(&connections)).collect();
        Self {
            opened: connections.shared.clock.now(),
            connections,
            registrations,
        }
    }

    /// A pass, so long after they were registration; how long it took, and how long the
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
        self.registrations.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }
}

fn list_one(connections: &Connections) -> Registration {
    let room = crate::Room::for_bench(connections);
    room.admit(&(), Peer::Unknown).expect("no limit")
}
