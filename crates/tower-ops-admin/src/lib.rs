//! The operations endpoint of a service: one tower service, on which others are mounted.
//!
//! # Overview
//!
//! [`Admin`] knows none of the services that it serves. Each is mounted on a path, with the
//! [`Access`] that it needs:
//!
//! - `/` lists them, with the name, the version and the phase of the process, as text or JSON.
//!   `/info` has the same and more, as JSON.
//! - [`Tokens`] authorize reading and writing. They come from a string, the environment or a file.
//!   Two are valid at the same time while they are changed.
//! - Every answer carries `x-tower-ops-version`. If a service panics, fails or takes too long, the
//!   answer is 500, 500 or 504.
//! - `Admin::start` (feature `server`) serves it on a port, a thread and a runtime of its own: it
//!   answers while the application is stuck. It can also be put on the application's port, by
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
//! | a mount needs | no token is set | none, or an unknown one | the read token | the write token |
//! |---|---|---|---|---|
//! | [`Access::Public`] | open | open | open | open |
//! | [`Access::Read`] | open | 401 | open | open |
//! | [`Access::Write`] | 403, and how to open it | 401 | 403 | open |
//!
//! On the application's port, what changes something is never open without a token. A request that
//! changes something is refused if it comes from a page of another site (403, by `Origin`,
//! `Sec-Fetch-Site` and `Sec-Purpose`) or under a foreign host name (421, see
//! [`trusted_host`](AdminBuilder::trusted_host)). It leaves an audit event with the target
//! `tower_ops::audit`: method, path, peer, user agent, which token, status.
//!
//! Tokens are sent as `authorization: Bearer …` (RFC 6750), and are compared in constant time. With a
//! write token and no read token, reading stays open: a scraper needs no secret by default.
//!
//! # HTTP
//!
//! OPTIONS is answered as GET would be, with `Allow` and without a body, on every path, and has no
//! effect. A slash at the end of a path makes no difference. A request in HTTP/1.1 needs exactly
//! one `Host` (400 otherwise). Every answer has `x-content-type-options: nosniff`, and
//! `cache-control: no-store` unless the service sets another value.
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
//! | `server` | `Admin::start` and `AdminServer`, on hyper |
//!
//! # Limits
//!
//! - HTTP/1.1 without TLS, and one request per connection: keep it off the public network.
//! - A file of tokens is read again at most every 10 s, on a thread of its own. The request that
//!   causes it waits for at most 0.2 s.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod audit;
mod body;
mod builder;
mod call;
mod gate;
mod index;
mod layer;
mod mount;
#[cfg(feature = "server")]
mod server;
mod tokens;

pub use self::admin::{Admin, AdminFuture};
pub use self::body::{AdminBody, AdminRequestBody, BoxError};
pub use self::builder::AdminBuilder;
pub use self::layer::{AdminLayer, AdminLayerFuture, AdminService};
pub use self::mount::{DEFAULT_MAX_BODY, DEFAULT_TIMEOUT, Mount, RemoteAddr};
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub use self::server::AdminServer;
pub use self::tokens::{Access, Role, Tokens, TokensBuilder};
pub use tower_ops_core::config::ConfigError;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub use tower_ops_core::config::StartError;
pub use tower_ops_core::secret::Secret;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
