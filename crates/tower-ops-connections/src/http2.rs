//! HTTP/2 as it goes over the wire, below hyper.
//!
//! A stream is not over when the service has dropped its response's body: bytes may
//! wait in hyper, a tunnel may have taken its place, a client may not read. Only the
//! frames show that, and they are the same on every stack. [`Wire`] follows them in
//! both directions, keeps a table of the open streams, and can put frames of its own
//! in between.

mod frames;
mod streams;
mod wire;

pub(crate) use self::streams::{StallLimit, Stalled};
pub(crate) use self::wire::Wire;
