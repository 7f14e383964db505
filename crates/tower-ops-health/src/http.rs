//! The probes over HTTP.

mod answering;
mod negotiation;
mod rendering;
mod routes;

pub use self::routes::{Probe, ProbeService, Probes};
