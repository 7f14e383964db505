//! tower-ops beside its peers: the same route, the same requests, one layer stack a process.
//!
//! [`Stack`] names what can be measured, and [`Workload`] sends requests through it. [`Served`] names
//! the servers that a load generator can be pointed at. What is measured and how to run it stands in the
//! `README.md` of this crate; `scripts/bench` runs it all.

mod accept_loops;
mod counting;
mod ours;
mod peers;
mod served;
mod stack;
mod workload;

pub use served::{SERVED, Served};
pub use stack::{Bound, STACKS, Stack};
pub use workload::{Client, Workload};
