//! The operations endpoint of a service: one tower service, on which others are mounted.
//!
//! # Overview
//!
//! [`Admin`] knows none of the services that it serves. Each is mounted on a path, with the
//! [`Access`] that it needs:
//!
//! - `/` lists them, with the name, the version and the phase of the process, as text or JSON;
//!   `/info` tells the same and more, as JSON.
//! - One place decides who may do what: [`Tokens`] for reading and writing, from the
//!   environment or a file, two at a time while they are changed.
//! - Every answer carries `x-tower-ops-version`. A service that panics, fails or takes too long
//!   is answered for: 500, 500, 504.
//! - `Admin::start` (feature `server`) puts it on a port, a thread and a runtime of its own: it
//!   answers while the application is stuck. It can also stand on the application's port, by
//!   [`layer`](Admin::layer) or nested in a router.
//!
//! # Example
//!
//! ```
//! use std::convert::Infallible;
//! use http::{Request, Response, StatusCode};
//! use tower::{ServiceExt, service_fn};
//! use tower_ops_admin::{Admin, Mount};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let metrics = service_fn(async |_| {
//!     Ok::<_, Infallible>(Response::new("requests_total 7\n".to_owned()))
//! });
//! let admin = Admin::builder("orders")
//!     .version(env!("CARGO_PKG_VERSION"))
//!     .mount(Mount::new("/metrics", metrics).about("Prometheus metrics"))
//!     .build()?;
//!
//! let request = Request::get("/metrics").body(String::new())?;
//! let response = admin.clone().oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert!(response.headers().contains_key("x-tower-ops-version"));
//!
//! let request = Request::get("/nothing").body(String::new())?;
//! assert_eq!(admin.oneshot(request).await?.status(), StatusCode::NOT_FOUND);
//! # Ok(())
//! # }
//! ```
//!
//! # Access
//!
//! | a mount needs | no token is set | the wrong one, or none | the read token | the write token |
//! |---|---|---|---|---|
//! | [`Access::Public`] | open | open | open | open |
//! | [`Access::Read`] | open | 401 | open | open |
//! | [`Access::Write`] | 403, and how to open it | 401 | 403 | open |
//!
//! On the application's port, what changes something is never open without a token. Whatever
//! changes something is refused to pages of other sites (403, by `Origin`, `Sec-Fetch-Site` and
//! `Sec-Purpose`) and under foreign host names (421, see
//! [`trusted_host`](AdminBuilder::trusted_host)), and leaves an audit event with the target
//! `tower_ops::audit`: method, path, peer, user agent, which token, status.
//!
//! Tokens come as `authorization: Bearer …` (RFC 6750), and are compared in constant time. With a
//! write token and no read token, reading stays open: a scraper needs no secret by default.
//!
//! # Cost
//!
//! A box for the future, the request's body and the response's body: the endpoint is for
//! operators, not for load.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `server` | `Admin::start` and `Endpoint`, on hyper |
//!
//! # HTTP
//!
//! OPTIONS is answered as GET would be, with `Allow` and without a body, on every path, and has no
//! effect. A slash at the end of a path makes no difference. A request in HTTP/1.1 needs exactly
//! one `Host` (400 otherwise).
//!
//! # Limits
//!
//! - HTTP/1.1 without TLS, and one request for each connection: keep it off the public network.
//! - A file of tokens is read on the endpoint's own thread, at most every 10 s.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod admin;
mod audit;
mod body;
mod builder;
mod config;
#[cfg(feature = "server")]
mod deadline;
#[cfg(feature = "server")]
mod endpoint;
mod erased;
mod gate;
mod index;
mod layer;
mod mount;
mod options;
#[cfg(feature = "server")]
mod ports;
mod remote;
mod serve;
mod tokens;
#[cfg(feature = "server")]
mod workers;

pub use self::access::{Access, Role};
pub use self::admin::{Admin, AdminFuture};
pub use self::body::{AdminBody, AdminRequestBody, BoxError};
pub use self::builder::AdminBuilder;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub use self::endpoint::Endpoint;
pub use self::layer::{AdminLayer, AdminService, LayerFuture};
pub use self::mount::{DEFAULT_BODY, DEFAULT_TIMEOUT, Mount};
pub use self::remote::RemoteAddr;
pub use self::tokens::{Tokens, TokensBuilder};
pub use tower_ops_core::config::ConfigError;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub use tower_ops_core::config::StartError;
pub use tower_ops_core::secret::Secret;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
