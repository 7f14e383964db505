//! The edges of requests, connections and the process, by real clients against the playground:
//! what is in use stays, who is innocent is answered, what must end does, and what is recorded is
//! what happened.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

mod ends;
mod http2;
mod innocent;
mod recorded;
