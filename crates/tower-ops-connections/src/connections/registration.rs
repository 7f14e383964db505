//! The end of a connection: what it ended by, and what was lost.

use tokio::sync::OwnedSemaphorePermit;

use crate::connections::room::PerIp;
use crate::{CloseReason, Connection};

/// The registration of an open connection. Dropping it ends the connection.
pub(crate) struct Registration {
    pub(crate) connection: Connection,
    key: usize,
    /// Why it ended, unless a close was requested before.
    pub(crate) end: CloseReason,
    _room: Option<OwnedSemaphorePermit>,
    _per_ip: Option<PerIp>,
}

impl Registration {
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

    /// Records that reading, writing or HTTP/2 failed, other than by the peer's end.
    pub(crate) fn fail(&mut self) {
        if self.end == CloseReason::ServerClosed {
            self.end = CloseReason::Error;
            let record = &self.connection.record;
            record.note_broken(record.at_stake());
        }
    }

    /// Ends a connection whose TLS handshake failed.
    #[cfg(feature = "tls")]
    pub(crate) fn handshake_failed(mut self) {
        self.end = CloseReason::Handshake;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let record = &self.connection.record;
        let forced = record.state.load().is_forced();
        let mut lost = record.broken();
        if self.end == CloseReason::ClientClosed && !forced {
            // The client did not wait for its responses.
            lost = 0;
        }
        if lost > 0 && self.end == CloseReason::ServerClosed {
            self.end = CloseReason::Error;
        }
        // No other reason may follow. But a connection that was being closed in order and failed with
        // exchanges in flight has failed.
        record.state.close(self.end);
        if lost > 0 && self.end == CloseReason::Error && !forced {
            record.state.break_off();
        }
        record.state.commit();
        // Unless a drain has reported it as cut off.
        if lost > 0 {
            record.shared.note_lost(&self.connection, lost);
        }
        if record.watched.is_missing() {
            record.shared.watched.count_unwatched();
        }
        let reason = record.state.load().reason().unwrap_or(self.end);
        record.closing.notify_waiters();
        record.shared.remove(&self.connection, self.key, reason);
    }
}
