//! Lines as they leave the process: what is in them, and what happens where nobody takes them.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

mod beside;
mod clients;
mod exchange;
mod injection;
mod outputs;
mod ring;
mod sink;
mod spans;
