//! Test helpers that the crates of tower-ops share; not published.
//!
//! For a layer by itself: [`Readied`] panics when a layer calls a service that it did not poll
//! ready, and [`ScriptedBody`] plays every way a body can go while its [`BodyProbe`] shows how
//! it was treated.
//!
//! For a whole stack: [`Server`] puts any tower service on a free port; [`RawHttp1`], [`RawHttp2`]
//! and [`Http2Client`] talk to it, politely or not; [`Process`] runs an example as a child.
//!
//! # Examples
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use hyper::body::Incoming;
//! use tower_ops_testing::{RawHttp1, Readied, ScriptedBody, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let service = Readied::from_fn(|_: Request<Incoming>| async {
//!     Ok::<_, Infallible>(Response::new(ScriptedBody::new().data("hello")))
//! });
//! let server = Server::spawn(service).await;
//!
//! let mut client = RawHttp1::connect(server.addr()).await?;
//! client.send_request("GET", "/", &[], "").await?;
//! let head = client.read_head().await?;
//! assert_eq!(head.status, 200);
//! assert_eq!(client.read_body(&head).await?.data, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//!
//! Deadlines run on tokio's clock. A paused clock jumps ahead whenever the runtime waits for
//! nothing but I/O, so the helpers with sockets and children need a running one.

mod body;
mod free_addr;
mod from_fn;
mod http1;
mod http2;
mod process;
mod raw_http2;
mod readied;
mod server;
mod tasks;

pub use self::body::{BodyProbe, ScriptedBody, ScriptedError};
pub use self::free_addr::free_addr;
pub use self::from_fn::FromFn;
pub use self::http1::{Head, RawBody, RawHttp1};
pub use self::http2::Http2Client;
pub use self::process::Process;
pub use self::raw_http2::{Frame, RawHttp2, frame};
pub use self::readied::Readied;
pub use self::server::Server;
