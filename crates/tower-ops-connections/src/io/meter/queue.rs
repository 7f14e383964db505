use std::collections::VecDeque;
use std::sync::Arc;

use super::{CONNECTION, CROWDED, Flow};

/// The streams of a connection that wait for room, in the order in which they began to wait.
///
/// There are two lines, since streams that hold nothing may resume while the others may not. If both
/// may, the one that has waited longest is first.
#[derive(Default)]
pub(super) struct Queue {
    next: u64,
    light: VecDeque<Waiter>,
    heavy: VecDeque<Waiter>,
}

struct Waiter {
    ticket: u64,
    flow: Arc<Flow>,
}

/// The place of a stream in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    ticket: u64,
    light: bool,
}

impl Queue {
    /// Queues `flow`, or leaves it where it is. A stream that has become light changes the line and
    /// keeps its ticket.
    pub(super) fn enter(&mut self, place: Option<Place>, flow: &Arc<Flow>, light: bool) -> Place {
        let ticket = match place {
            Some(place) if place.light == light => return place,
            Some(place) => {
                self.leave(place);
                place.ticket
            }
            None => {
                self.next += 1;
                self.next
            }
        };
        let line = self.line(light);
        let index = line.partition_point(|waiter| waiter.ticket < ticket);
        let flow = Arc::clone(flow);
        line.insert(index, Waiter { ticket, flow });
        Place { ticket, light }
    }

    pub(super) fn leave(&mut self, place: Place) {
        let line = self.line(place.light);
        if let Ok(index) = line.binary_search_by_key(&place.ticket, |waiter| waiter.ticket) {
            // Not the last hold: the caller has one.
            line.remove(index);
        }
    }

    /// Returns the first light stream.
    pub(super) fn first_light(&self) -> Option<Arc<Flow>> {
        self.light.front().map(|waiter| Arc::clone(&waiter.flow))
    }

    /// Returns the first stream that may resume when that much is held.
    pub(super) fn first(&self, held: usize) -> Option<Arc<Flow>> {
        let light = self.light.front().filter(|_| held < CONNECTION);
        let heavy = self.heavy.front().filter(|_| held < CROWDED);
        let first = match (light, heavy) {
            (Some(light), Some(heavy)) if heavy.ticket < light.ticket => heavy,
            (Some(light), _) => light,
            (None, heavy) => heavy?,
        };
        Some(Arc::clone(&first.flow))
    }

    fn line(&mut self, light: bool) -> &mut VecDeque<Waiter> {
        if light {
            &mut self.light
        } else {
            &mut self.heavy
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("light", &self.light.len())
            .field("heavy", &self.heavy.len())
            .finish_non_exhaustive()
    }
}
