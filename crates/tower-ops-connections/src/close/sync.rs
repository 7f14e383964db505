//! The atomics of what is modelled with loom: its own in the models, and the standard
//! library's everywhere else.

#[cfg(not(all(test, tower_ops_loom)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(all(test, tower_ops_loom))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
