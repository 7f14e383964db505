//! The state of a running service: captured with one GET, restored with one POST.
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
mod fence_layer;
mod file;
mod guarded;
mod hex;
mod job;
mod lock;
mod member;
mod metrics;
mod nesting;
mod participant;
mod peer;
mod problem;
mod problems;
mod record;
mod restore;
mod seal;
mod segments;
mod service;
mod shared;
mod single;
mod state;
mod token;

pub use self::body::StateBody;
pub use self::builder::{
    DEFAULT_CAPTURE_TIMEOUT, DEFAULT_IDLE_BODY_TIMEOUT, DEFAULT_MAX_SIZE, DEFAULT_RESTORE_TIMEOUT,
    StateBuilder, TOKEN_VARIABLE,
};
pub use self::capture::Capture;
pub use self::error::{ConfigError, ErrorKind, StateError};
pub use self::fence::{Fence, Fenced, WriteGuard};
pub use self::fence_layer::{FenceLayer, FenceService, ResponseBody, ResponseFuture};
pub use self::participant::{Participant, Refusal};
pub use self::peer::Peer;
pub use self::restore::{Restore, Restored, RestoredParticipant};
pub use self::service::{StateFuture, StateService};
pub use self::state::State;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
