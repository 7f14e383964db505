//! Where connections come from: listeners, and the servers that serve them.

pub(crate) mod accept;
#[cfg(feature = "axum")]
pub(crate) mod axum;
pub(crate) mod connect_info;
pub(crate) mod descriptors;
#[cfg(feature = "service")]
pub(crate) mod endpoint;
pub(crate) mod keep_alive;
#[cfg(feature = "hyper-util")]
pub(crate) mod server;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "tonic")]
pub(crate) mod tonic;
#[cfg(unix)]
pub(crate) mod unix;
