//! Closing a connection: why, when, and how far it has come.
//!
//! - [`state`]: one word for each connection, the only place where a close and a request race.
//! - [`limits`]: the settings, and which connection they close.
//! - [`closing`]: whether a connection that is being closed may go now.
//! - [`reaper`]: the task that looks at all connections.
//! - [`drain`]: closes all of them, up to a deadline.

pub(crate) mod closing;
pub(crate) mod drain;
pub(crate) mod event_gate;
pub(crate) mod limits;
#[cfg(all(test, tower_ops_loom))]
mod loom_models;
pub(crate) mod reaper;
pub(crate) mod reason;
pub(crate) mod state;
mod sync;
