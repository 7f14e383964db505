//! What several crates of tower-ops need, and nobody needs alone: a module a concept, each with
//! three users or more.
//!
//! | module | holds | feature |
//! |---|---|---|
//! | [`config`] | [`ConfigError`](config::ConfigError), every problem of a configuration at once, and [`StartError`](config::StartError), why something could not be started | |
//! | [`panic`](mod@panic) | calls whose panic is an error, and the text of a panic | |
//! | [`sync`] | a lock that a panic does not poison | |
//! | [`shards`] | parts that threads write, one for every few threads | |
//! | [`file`](mod@file) | replacing a file as a whole | |
#![cfg_attr(
    feature = "http",
    doc = "| [`http`] | queries, answers in JSON, `Accept`, `Host` | `http` |"
)]
#![cfg_attr(
    feature = "recorder",
    doc = "| [`recorder`] | a recorder of metrics that is given, or the process's | `recorder` |"
)]
#![cfg_attr(
    feature = "secret",
    doc = "| [`secret`] | bearer tokens and where they come from | `secret` |"
)]
//!
//! The other crates re-export what their users need. Its API may change with any release.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod config;
pub mod file;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
pub mod panic;
#[cfg(feature = "recorder")]
#[cfg_attr(docsrs, doc(cfg(feature = "recorder")))]
pub mod recorder;
#[cfg(feature = "secret")]
#[cfg_attr(docsrs, doc(cfg(feature = "secret")))]
pub mod secret;
pub mod shards;
pub mod sync;

#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;
