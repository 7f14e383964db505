//! What a span adds to the lines of all events in it: rendered when it is made.

use std::cell::RefCell;

use crate::fields::{FIELDS, Fields};
use crate::ids::Ids;

/// How many a thread keeps for the next spans.
const SPARES: usize = 64;

/// One layer's part of a span.
#[derive(Debug, Default)]
pub(super) struct SpanLines {
    /// Which layer's.
    pub(super) owner: u32,
    pub(super) fields: Fields,
    pub(super) ids: Ids,
    /// That of another layer like this one in the same subscriber.
    next: Option<Box<Self>>,
}

/// In a span's extensions. A box, so that its buffers can be used again.
#[derive(Debug)]
pub(super) struct InSpan(pub(super) Box<SpanLines>);

impl InSpan {
    pub(super) fn of(&self, owner: u32) -> Option<&SpanLines> {
        let mut lines = Some(&self.0);
        while let Some(some) = lines {
            if some.owner == owner {
                return Some(some);
            }
            lines = some.next.as_ref();
        }
        None
    }

    /// Returns the layer's part, and makes it if it is not there.
    pub(super) fn of_mut(&mut self, owner: u32) -> &mut SpanLines {
        let mut lines = &mut self.0;
        while lines.owner != owner {
            lines = lines.next.get_or_insert_with(|| take(owner));
        }
        lines
    }
}

thread_local! {
    #[expect(clippy::vec_box, reason = "what is kept are the boxes")]
    static SPARE: RefCell<Vec<Box<SpanLines>>> = const { RefCell::new(Vec::new()) };
}

/// Returns an empty one.
pub(super) fn take(owner: u32) -> Box<SpanLines> {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
    let mut lines = spare.ok().flatten().unwrap_or_default();
    lines.owner = owner;
    lines
}

/// Keeps it for another span, unless there are enough or it is large.
pub(super) fn give_back(mut lines: Box<SpanLines>) {
    lines.fields.clear();
    lines.ids.clear();
    lines.next = None;
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARES && lines.fields.capacity() <= FIELDS {
            spare.push(lines);
        }
    });
}
