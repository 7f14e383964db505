//! Captures the state of a running service with one GET, and restores it with one POST. A service
//! whose state is half restored never serves.
//!
//! # Overview
//!
//! A [`State`] has [participants](Participant): parts with a name, a schema version, and data that
//! serde can serialise. Its [service](State::service) is for `/state`.
//!
//! - A capture takes the data of all participants and writes an envelope: JSON that begins with a
//!   manifest of lengths and digests, and has a [signature](StateBuilder::hmac_key) if a key is
//!   configured.
//! - A restore checks the envelope. Then all participants decode, migrate and validate their data,
//!   and then all commit. If one does not, all are rolled back.
//! - A [fence](State::fence) keeps writes out of an instance that has handed its state over, so
//!   that two instances never both write.
//! - A [file](StateBuilder::file) keeps the state from one process to the next.
//!
//! All of it runs off the runtime: participants may block. One capture or restore runs at a time;
//! a second one gets 409 at once.
//!
//! # Example
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use axum::Router;
//! use tower_ops_state::State;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let orders = Arc::new(Mutex::new(Vec::<String>::new()));
//! let (get, set) = (orders.clone(), orders.clone());
//! let state = State::builder("orders", env!("CARGO_PKG_VERSION"))
//!     .single(move || get.lock().unwrap().clone(), move |orders| {
//!         *set.lock().unwrap() = orders;
//!         Ok(())
//!     })
//!     .token("a token of at least 16 characters".replace(' ', "-"))
//!     .restore_when(|| true) // better: before it is ready, or while it is drained
//!     .build()?;
//! let app: Router = Router::new().route_service("/state", state.service());
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! # Place in the stack
//!
//! Mount the service on a port that only operators reach, without layers that buffer or limit
//! bodies: it limits them itself. Put the [layer of the fence](Fence::layer) around the routes that
//! write, and not around the service.
//!
//! # Memory and time
//!
//! - A capture holds the data of the participants, and some chunks of 64 KiB: the envelope is never
//!   in memory as a whole. It is serialised twice: once for its length and digest, and again while
//!   it is sent.
//! - A restore holds the envelope, which is at most [`max_size`](StateBuilder::max_size), and some
//!   kilobytes. It frees the envelope while it decodes. What a participant decodes is larger or
//!   smaller than the text, and is not counted. The present data of the participants is held as
//!   well, for a rollback.
//!
//! # Metrics
//!
//! | name | |
//! |---|---|
//! | `state_save_duration_seconds`, `state_load_duration_seconds` | the duration of each success |
//! | `state_size_bytes` | the size of the last envelope |
//! | `state_operations_total{operation,outcome}` | each attempt, once |
//!
//! Operations are `capture`, `hand_over`, `measure`, `restore`, `dry_run`, `resume`, `save_file`
//! and `restore_file`. Each attempt is also one event of `tracing` with the target
//! `tower_ops_state::audit`: operation, outcome, name of the token, [peer](Peer), size, digest and
//! time. It never has a message or contents.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `compression` | gzip, by `Accept-Encoding` and `Content-Encoding`. Other encodings are not offered: their windows would let a few bytes claim megabytes |
//!
//! # Limits
//!
//! - Participants are captured one after another. To capture one moment of all of them, close the
//!   fence: hand over.
//! - A participant that blocks its thread cannot be interrupted. Its client gets 504, and all others
//!   get 409 until it returns.
//! - The fence is in memory. An instance that handed its state over and is restarted does not know
//!   that, unless it finds a file of the newer generation.
//! - Nothing proves that a client has received the last chunk of a hand-over, only that the chunk
//!   was given to the connection. The fence stays closed then: see [`Fence::resume`].
//! - Data without an order of its own, as in a `HashMap`, has another digest each time it is built,
//!   so that a dry run reports changes where there are none.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod audit;
mod builder;
mod capture;
mod envelope;
mod error;
mod fence;
mod file;
mod http;
mod participant;
mod restore;
mod state;

pub use self::audit::Peer;
pub use self::builder::StateBuilder;
pub use self::capture::Capture;
pub use self::error::{ErrorKind, StateError};
pub use self::fence::{
    Fence, FenceLayer, FenceService, Fenced, ResponseBody, ResponseFuture, WriteGuard,
};
pub use self::http::{StateBody, StateService};
pub use self::participant::{Participant, Refusal};
pub use self::restore::{Restore, Restored, RestoredParticipant};
pub use self::state::State;
pub use tower_ops_core::config::ConfigError;
pub use tower_ops_core::secret::Secret;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
