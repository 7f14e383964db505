//! What the tests share: an example as a running process, and its metrics as numbers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

mod balancer;
mod exchange;
mod load;
pub mod mix;
mod samples;
mod service;

pub use self::balancer::Balancer;
pub use self::exchange::{Answer, Protocol};
pub use self::load::{Felt, Kind, Load};
pub use self::samples::Samples;
pub use self::service::Service;
