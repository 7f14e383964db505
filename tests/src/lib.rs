//! What the tests share: an example as a running process, and its metrics as numbers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

mod exchange;
mod samples;
mod service;

pub use self::exchange::{Answer, Protocol};
pub use self::samples::Samples;
pub use self::service::Service;
