//! What is kept of an exchange for those who listen: its span, and what is logged at its end.

use std::cell::RefCell;

use tower_ops_observe::{Facts, Route};
use tracing::Span;

use crate::access::LoggedRequest;

/// In a box, so that an exchange to which nobody listens moves a pointer, and used again, so that
/// the others do not allocate it.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) open: Option<OpenSpan>,
    pub(crate) logged: Option<LoggedRequest>,
}

/// How many a thread keeps for the next exchanges.
const SPARES: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "what is kept are the boxes")]
    static SPARE: RefCell<Vec<Box<Heard>>> = const { RefCell::new(Vec::new()) };
}

/// Returns an empty one.
pub(crate) fn take() -> Box<Heard> {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
    spare.ok().flatten().unwrap_or_default()
}

/// Lets go of the span, and keeps the box.
pub(crate) fn give_back(mut heard: Box<Heard>) {
    // Before the others are borrowed: a subscriber may do anything when a span closes.
    *heard = Heard::default();
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARES {
            spare.push(heard);
        }
    });
}

#[derive(Debug)]
pub(crate) struct OpenSpan {
    pub(crate) span: Span,
    /// Of the route that it shows.
    pub(crate) shown: Fingerprint,
}

impl OpenSpan {
    pub(crate) fn new(span: Span, facts: &Facts) -> Option<Self> {
        (!span.is_disabled()).then(|| Self {
            span,
            shown: Fingerprint::of(shown(facts)),
        })
    }
}

/// The route that a new span shows. Until the service answers, every gRPC method that is not known
/// yet is `_OTHER`, also one that is about to be learned.
pub(crate) fn shown(facts: &Facts) -> Option<&Route> {
    facts.route().filter(|route| **route != Route::OTHER)
}

/// A hash of a route (FNV-1a). To clone a route writes to what all cores share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn of(route: Option<&Route>) -> Self {
        let Some(route) = route else { return Self(0) };
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let text = route.as_str().bytes();
        Self(text.fold(0xcbf2_9ce4_8422_2325, mix))
    }
}
