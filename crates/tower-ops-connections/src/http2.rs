//! HTTP/2 on the wire, below hyper.
//!
//! A stream does not end when the service drops its response body: bytes may wait in hyper, a
//! tunnel may have replaced it, the client may not read. Only the frames show that, and they are the
//! same on every stack. [`Wire`] follows them in both directions, keeps a table of the open streams,
//! and can insert frames of its own.

mod frames;
mod streams;
mod wire;

pub(crate) use self::streams::{StallLimit, Stalled};
pub(crate) use self::wire::Wire;
