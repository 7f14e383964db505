//! The reaper over records without sockets, for the benchmark. Not part of the API.

#![expect(clippy::disallowed_types, reason = "measures, and no runtime is there")]

use std::time::{Duration, Instant};

use crate::close::reaper::Pass;
use crate::connections::registration::Registration;
use crate::connections::shards::SHARDS;
use crate::{Connections, Peer};

/// Connections without a stream.
#[allow(missing_debug_implementations, reason = "not part of the API")]
pub struct Records {
    connections: Connections,
    registrations: Vec<Registration>,
    opened: Duration,
}

impl Records {
    /// Registers that many.
    ///
    /// # Panics
    ///
    /// If there is a limit.
    #[must_use]
    pub fn register(count: usize) -> Self {
        let connections = Connections::builder()
            .first_byte_timeout(None)
            .max_connections(None)
            .build()
            .expect("valid");
        let registrations = (0..count).map(|_| register_one(&connections)).collect();
        Self {
            opened: connections.shared.clock.now(),
            connections,
            registrations,
        }
    }

    /// Makes a pass, so long after they were registered. Returns how long it took, and how long the
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

    /// Registers and drops another one.
    pub fn come_and_go(&self) {
        drop(register_one(&self.connections));
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.registrations.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }
}

fn register_one(connections: &Connections) -> Registration {
    let room = crate::Room::for_bench(connections);
    room.admit(&(), Peer::Unknown).expect("no limit")
}
