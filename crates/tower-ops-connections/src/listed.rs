use tokio::sync::OwnedSemaphorePermit;

use crate::shared::PerIp;
use crate::{CloseReason, Connection};

/// A connection in the list of those that are open, until this is dropped.
pub(crate) struct Listed {
    pub(crate) connection: Connection,
    key: usize,
    /// How it ended, unless a reason to close it came first.
    pub(crate) end: CloseReason,
    _room: Option<OwnedSemaphorePermit>,
    _per_ip: Option<PerIp>,
}

impl Listed {
    pub(crate) fn new(
        connection: Connection,
        key: usize,
        room: Option<OwnedSemaphorePermit>,
        per_ip: Option<PerIp>,
    ) -> Self {
        Self {
            connection,
            key,
            end: CloseReason::ServerClosed,
            _room: room,
            _per_ip: per_ip,
        }
    }

    /// It was accepted, but TLS did not come about.
    #[cfg(feature = "tls")]
    pub(crate) fn no_handshake(mut self) {
        self.end = CloseReason::Handshake;
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let record = &self.connection.record;
        // Whichever reason is first: from here on nobody may give another.
        record.state.close(self.end);
        record.state.commit();
        let reason = record.state.seen().reason().unwrap_or(self.end);
        record.closing.notify_waiters();
        record.shared.remove(&self.connection, self.key, reason);
    }
}
