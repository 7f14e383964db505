//! One exchange in flight, in as many hands as there are.

pub(crate) mod metered;
pub(crate) mod request_body;
pub(crate) mod service;

use std::sync::Arc;

use crate::Connection;
use crate::io::meter::Flow;

/// The response's hold on an exchange, and its way to the connection.
///
/// An exchange is over when all of its holds are gone: this one, that of a request's
/// body which is not at its end, and on HTTP/2 those of the data which the transport
/// has taken and not written. As long as there is only this one, it costs no
/// allocation.
pub(crate) struct Exchange {
    /// Moved to the thread while a poll lasts.
    pub(crate) connection: Option<Connection>,
    /// Set as soon as there is a second hold.
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

    /// One more hold; `None` if the connection is not known. Allocates once.
    pub(crate) fn share(&mut self) -> Option<Arc<Flow>> {
        let connection = self.connection.as_ref()?;
        let shared = self
            .shared
            .get_or_insert_with(|| Arc::new(Flow::new(connection.clone())));
        Some(Arc::clone(shared))
    }

    /// Leaves an empty one behind.
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
        // A shared one ends with its last hold.
        if self.shared.is_none()
            && let Some(connection) = &self.connection
        {
            connection.end();
        }
    }
}
