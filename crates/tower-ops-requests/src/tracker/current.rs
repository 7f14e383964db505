use std::cell::Cell;
use std::sync::Arc;

use crate::record::Record;

thread_local! {
    static CURRENT: Cell<Option<Arc<Record>>> = const { Cell::new(None) };
}

/// Passes the record of the work that this thread runs. While `look` runs there is none.
pub(crate) fn with<R>(look: impl FnOnce(Option<&Arc<Record>>) -> R) -> R {
    let taken = CURRENT.try_with(Cell::take).ok().flatten();
    if taken.is_none() {
        return look(None);
    }
    let back = Back(taken);
    look(back.0.as_ref())
}

/// Restores the current record, also if `look` unwinds.
struct Back(Option<Arc<Record>>);

impl Drop for Back {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.set(self.0.take()));
    }
}

/// Makes a record the current one until it is dropped, also by unwinding.
///
/// It swaps the two and swaps them back. A clone would write the record's count.
pub(crate) struct Swap<'a>(&'a mut Option<Arc<Record>>);

impl<'a> Swap<'a> {
    pub(crate) fn enter(record: &'a mut Option<Arc<Record>>) -> Self {
        swap(record);
        Self(record)
    }
}

impl Drop for Swap<'_> {
    fn drop(&mut self) {
        swap(self.0);
    }
}

fn swap(record: &mut Option<Arc<Record>>) {
    // An error means that the thread is ending: no code asks for the current work any more.
    let _ = CURRENT.try_with(|current| *record = current.replace(record.take()));
}
