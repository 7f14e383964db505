//! Long-lived resources that are closed when nobody uses them: exactly once, and never while in
//! use.
//!
//! # Overview
//!
//! A [`Registry`] owns resources such as connections to a database, channels or sessions. It lends
//! them as [`Guard`]s and closes each one when it is idle, fails its health check, or is closed by
//! hand. The closer of a resource is given to
//! [`register_connection`](Registry::register_connection) and runs once, when the last guard is
//! dropped.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use tower_ops_resources::Registry;
//!
//! struct Session;
//! impl Session {
//!     async fn log_out(self) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::builder()
//!     .idle_timeout(Duration::from_secs(120))
//!     .build()?;
//! registry.register_connection(Session, "session", |session| session.log_out());
//!
//! let report = registry.close_all(Duration::from_secs(10)).await;
//! assert_eq!(report.closed, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Cost
//!
//! To register, use or close a resource takes the lock of the registry for a few instructions. A
//! pass over all resources holds that lock as well. Each registration allocates the resource and
//! its closer.
//!
//! # Metrics
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `registry_connections` | gauge | |
//! | `registry_connections_closed_total` | counter | `reason`, `outcome` |
//!
//! The reason is `idle`, `unhealthy` (a failed health check), `manual` ([`Registry::close`]) or
//! `shutdown` ([`Registry::close_all`], or all handles were dropped). The outcome is a
//! [`CloseOutcome`].
//!
//! # Limits
//!
//! - A resource cannot be closed while a guard lives. [`Registry::close`] then returns
//!   [`CloseOutcome::InUse`], and the closer runs later.
//! - A closer runs on the runtime on which its resource was registered. If that has shut down, the
//!   resource is only dropped.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod closed;
mod janitor;
mod registry;
mod resource;
mod slots;

pub use self::builder::RegistryBuilder;
pub use self::closed::{CloseAllReport, CloseOutcome};
pub use self::registry::{Registry, UseError};
pub use self::resource::{Guard, ResourceSnapshot};
pub use self::slots::ResourceId;
pub use tower_ops_core::config::ConfigError;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
