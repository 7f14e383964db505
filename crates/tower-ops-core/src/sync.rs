//! Locks that a panic does not poison.

use std::fmt;
use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError, TryLockError};

/// A [`Mutex`](std::sync::Mutex) whose poison is ignored.
///
/// What the crates of tower-ops lock is whole after each statement, and code of others never runs
/// under a lock of theirs: a panic under one leaves nothing half done, and refusing the lock to all
/// others would make one failed request everybody's.
///
/// # Examples
///
/// ```
/// use tower_ops_core::sync::Mutex;
///
/// let numbers = Mutex::new(vec![1]);
/// numbers.lock().push(2);
/// assert_eq!(numbers.into_inner(), [1, 2]);
/// ```
#[derive(Default)]
pub struct Mutex<T: ?Sized>(StdMutex<T>);

impl<T> Mutex<T> {
    /// Holds a value.
    pub const fn new(value: T) -> Self {
        Self(StdMutex::new(value))
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock. Blocks the thread: for a few statements, never across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock if nobody has it, and never waits.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The value, for its only owner.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panic::catch;

    #[test]
    fn a_panic_under_the_lock_keeps_nobody_out() {
        let mut number = Mutex::new(1);
        let caught = catch(|| {
            *number.lock() += 1;
            let _guard = number.lock();
            panic!("under the lock");
        });
        assert!(caught.is_err());
        assert_eq!(*number.lock(), 2);
        let guard = number.try_lock().unwrap();
        assert!(number.try_lock().is_none());
        drop(guard);
        assert_eq!(*number.get_mut(), 2);
        assert_eq!(number.into_inner(), 2);
    }
}
