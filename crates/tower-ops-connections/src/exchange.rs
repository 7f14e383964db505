//! One exchange in flight: a request and its response.

pub(crate) mod metered;
pub(crate) mod request_body;
pub(crate) mod service;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use crate::Connection;
use crate::io::meter::Flow;

/// The response's hold on an exchange.
///
/// An exchange is over when all of its holds are dropped: this one, that of a request body which
/// has not ended, and on HTTP/2 those of the data which the transport has taken and not written.
/// While there is only this one, an exchange allocates nothing.
pub(crate) struct Exchange {
    /// In the thread-local slot while a poll lasts: see [`Scope`](crate::connection::Scope).
    pub(crate) connection: Option<Connection>,
    /// Set once there is a second hold.
    shared: Option<Arc<Flow>>,
}

impl Exchange {
    #[inline]
    pub(crate) fn begin(connection: Option<Connection>) -> Self {
        if let Some(connection) = &connection {
            connection.begin();
        }
        Self {
            connection,
            shared: None,
        }
    }

    /// Returns one more hold; `None` if the connection is not known. Allocates the first time.
    pub(crate) fn share(&mut self) -> Option<Arc<Flow>> {
        let connection = self.connection.as_ref()?;
        let shared = self
            .shared
            .get_or_insert_with(|| Arc::new(Flow::new(connection.clone())));
        Some(Arc::clone(shared))
    }

    /// Moves the exchange out, and leaves an empty one.
    pub(crate) const fn take(&mut self) -> Self {
        Self {
            connection: self.connection.take(),
            shared: self.shared.take(),
        }
    }
}

impl Drop for Exchange {
    #[inline]
    fn drop(&mut self) {
        // A shared exchange ends with its last hold.
        if self.shared.is_none()
            && let Some(connection) = &self.connection
        {
            connection.end();
        }
    }
}
