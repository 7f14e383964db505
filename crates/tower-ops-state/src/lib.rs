#![doc = include_str!("../README.md")]
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
