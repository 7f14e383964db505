use std::cell::Cell;
use std::sync::Arc;

use crate::record::Record;

thread_local! {
    static CURRENT: Cell<Option<Arc<Record>>> = const { Cell::new(None) };
}

/// Looks at the record of the work that this thread is doing.
pub(crate) fn with<R>(look: impl FnOnce(Option<&Arc<Record>>) -> R) -> R {
    let taken = CURRENT.try_with(Cell::take).ok().flatten();
    if taken.is_none() {
        return look(None);
    }
    let back = Back(taken);
    look(back.0.as_ref())
}

/// Puts a record back as the current one, also if the look unwinds.
struct Back(Option<Arc<Record>>);

impl Drop for Back {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.set(self.0.take()));
    }
}

/// Swaps the record with the current one for as long as it lives, and back, also
/// when the step in between unwinds. A swap and not a clone: no count is touched.
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
    // An error means that the thread is ending: nobody will ask any more.
    let _ = CURRENT.try_with(|current| *record = current.replace(record.take()));
}
