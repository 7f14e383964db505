//! The stream of a connection: its bytes are counted, and what a client makes the server hold is
//! bounded.

pub(crate) mod meter;
pub(crate) mod sniff;
pub(crate) mod stall;
pub(crate) mod tracked;
