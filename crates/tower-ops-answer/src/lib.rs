//! How the services of tower-ops read a query and answer in JSON.
//!
//! A part of the crates that have such a service, and of no use alone; its API
//! may change with any release.
//!
//! Every answer is JSON that ends in a newline, with `content-length`,
//! `cache-control: no-store` and `x-content-type-options: nosniff`. HEAD gets the
//! headers that GET would, and no body; OPTIONS gets GET's status and `Allow`. What went wrong is an object with the
//! member `error`, and what would have been right beside it. Nothing of the request
//! is quoted.
//!
//! The feature `bearer` adds what services compare bearer tokens by.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod answer;
#[cfg(feature = "bearer")]
mod bearer;
mod body;
mod headers;
mod host;
mod path;
mod query;
#[cfg(feature = "bearer")]
mod secret;
mod used_token;
#[cfg(feature = "bearer")]
mod watched_secret;

pub use self::accept::{Accept, codings};
pub use self::answer::Answer;
#[cfg(feature = "bearer")]
#[cfg_attr(docsrs, doc(cfg(feature = "bearer")))]
pub use self::bearer::{SHORTEST_TOKEN, TokenDigest, token_problem};
pub use self::body::AnswerBody;
pub use self::headers::{allow, has_body, is_read, secure};
pub use self::host::{BadHost, Host};
pub use self::path::path;
pub use self::query::{BadQuery, DEFAULT_LIMIT, MAX_LIMIT, Query};
#[cfg(feature = "bearer")]
#[cfg_attr(docsrs, doc(cfg(feature = "bearer")))]
pub use self::secret::Secret;
pub use self::used_token::UsedToken;
#[cfg(feature = "bearer")]
#[cfg_attr(docsrs, doc(cfg(feature = "bearer")))]
pub use self::watched_secret::WatchedSecret;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
