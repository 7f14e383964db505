//! Closing a connection: why, when, and how far it has come.
//!
//! - [`state`]: one word for each connection, where requests and closes race.
//! - [`transitions`]: what else happens when that word changes.
//! - [`judge`]: which connection has to be closed, as a pure function.
//! - [`reaper`]: the task that looks at all connections and carries the verdicts out.
//! - [`closing`]: whether a connection that is being closed may end now.
//! - [`drain`]: closes all connections, up to a deadline.

pub(crate) mod closing;
pub(crate) mod drain;
pub(crate) mod judge;
#[cfg(all(test, tower_ops_loom))]
mod loom_models;
pub(crate) mod reaper;
pub(crate) mod reason;
pub(crate) mod state;
pub(crate) mod sync;
mod transitions;
