use std::fmt;
use std::net::SocketAddr;

use tokio::task::JoinHandle;

/// The running operations endpoint, and the health checks. Made by
/// [`Ops::start_operations`](crate::Ops::start_operations).
///
/// Both end when it is dropped: its port is free then. That waits for the answers that are being
/// made at that moment, for at most a second; [`close`](Self::close) does so without blocking.
#[must_use = "the endpoint ends when this is dropped"]
pub struct Endpoint {
    inner: tower_ops_admin::Endpoint,
    _checks: Checks,
}

impl Endpoint {
    pub(crate) const fn new(inner: tower_ops_admin::Endpoint, checks: JoinHandle<()>) -> Self {
        Self {
            inner,
            _checks: Checks(checks),
        }
    }

    /// Where it listens: the port that was taken, if it was given as 0.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.inner.addr()
    }

    /// Ends it, in two seconds at most. The answers that are being made get one.
    ///
    /// # Cancel safety
    ///
    /// May be dropped: it ends all the same.
    pub async fn close(self) {
        self.inner.close().await;
    }
}

/// The health checks, on the application's runtime.
struct Checks(JoinHandle<()>);

impl Drop for Checks {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("addr", &self.addr())
            .finish_non_exhaustive()
    }
}
