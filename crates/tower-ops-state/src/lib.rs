//! The state of a running service: captured with one GET, restored with one POST, and
//! nothing half restored ever serves.
//!
//! # Overview
//!
//! A [`State`] has [participants](Participant): parts with a name, a schema version, and
//! data of a type that serde knows. Its [service](State::service) is for `/state`.
//!
//! - A capture asks all participants for their data and writes an envelope: JSON with a
//!   manifest in front, lengths and digests, and a [signature](StateBuilder::hmac_key)
//!   where there is a key.
//! - A restore checks the envelope; then all participants decode, migrate and validate;
//!   then all commit. If one does not, all are rolled back.
//! - A [fence](State::fence) keeps writes out of an instance that has handed its state
//!   over, so that two instances never both write.
//! - A [file](StateBuilder::file) keeps the state from one process to the next.
//!
//! All of it runs off the runtime: participants may block. One capture or restore runs
//! at a time, and whoever comes second gets 409 at once.
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
//! The service goes onto a port that only operators reach, without a layer that buffers
//! or limits bodies: it bounds them itself. The [fence's layer](Fence::layer) goes
//! around the routes that write, and not around the service.
//!
//! # Memory and time
//!
//! - A capture holds what the participants gave, and some chunks of 64 KiB: the envelope
//!   is never in memory as a whole. It is serialised twice, once for its length and
//!   digest, and again while it is sent.
//! - A restore holds the envelope, at most [`max_size`](StateBuilder::max_size) and some
//!   kilobytes, and frees it while it is decoded. What a participant makes of its part
//!   is larger or smaller than the text, and is not counted. Beside it the participants'
//!   present data is held, for a rollback.
//!
//! # Metrics
//!
//! | name | |
//! |---|---|
//! | `state_save_duration_seconds`, `state_load_duration_seconds` | how long each took, if it succeeded |
//! | `state_size_bytes` | how large the last one was |
//! | `state_operations_total{operation,outcome}` | each attempt, once |
//!
//! Operations are `capture`, `hand_over`, `measure`, `restore`, `dry_run`, `resume`,
//! `save_file` and `restore_file`. Each attempt is also one event of `tracing` with the
//! target `tower_ops_state::audit`: operation, outcome, which token, [peer](Peer), size,
//! digest and time; never a message and never contents.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `compression` | gzip, by `Accept-Encoding` and `Content-Encoding`. Other encodings are not offered: their windows would let a few bytes claim megabytes |
//!
//! # Limits
//!
//! - Participants are captured one after another. For one moment in all of them, close
//!   the fence: hand over.
//! - A participant that blocks its thread cannot be interrupted. Whoever waits gets 504,
//!   and until it is done everybody else gets 409.
//! - A fence is in memory. An instance that handed its state over and is started anew
//!   does not know of it, unless it finds a file of the newer generation.
//! - Whether a client has received the last chunk of a hand-over cannot be known, only
//!   that it was given to the connection. Then the fence stays closed: see
//!   [`Fence::resume`].
//! - Data without an order of its own, as in a `HashMap`, has another digest each time it
//!   is built, so that a dry run sees changes where there are none.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod ask;
mod attempt;
mod body;
mod builder;
mod capture;
mod delivery;
mod envelope;
mod error;
mod exchange;
mod fence;
mod file;
mod guarded;
mod hex;
mod job;
mod member;
mod metrics;
mod nesting;
mod participant;
mod peer;
mod problem;
mod problems;
mod received;
mod record;
mod restore;
mod seal;
mod segments;
mod service;
mod shared;
mod single;
mod state;
mod token;
mod worker;

pub use self::body::StateBody;
pub use self::builder::{
    DEFAULT_CAPTURE_TIMEOUT, DEFAULT_IDLE_BODY_TIMEOUT, DEFAULT_MAX_SIZE, DEFAULT_RESTORE_TIMEOUT,
    StateBuilder, TOKEN_VARIABLE,
};
pub use self::capture::Capture;
pub use self::error::{ErrorKind, StateError};
pub use self::fence::{
    Fence, FenceLayer, FenceService, Fenced, ResponseBody, ResponseFuture, WriteGuard,
};
pub use self::participant::{Participant, Refusal};
pub use self::peer::Peer;
pub use self::restore::{Restore, Restored, RestoredParticipant};
pub use self::service::{StateFuture, StateService};
pub use self::state::State;
pub use tower_ops_core::config::ConfigError;
pub use tower_ops_core::secret::Secret;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
