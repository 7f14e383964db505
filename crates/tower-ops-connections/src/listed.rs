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

    /// Reading or writing failed, or HTTP/2 did, and not because the peer had gone.
    pub(crate) fn breaks(&mut self) {
        if self.end == CloseReason::ServerClosed {
            self.end = CloseReason::Error;
            let record = &self.connection.record;
            record.note_broken(record.at_stake());
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
        let forced = record.state.seen().is_forced();
        let mut lost = record.broken();
        if self.end == CloseReason::ClientClosed && !forced {
            // It did not wait for its answers.
            lost = 0;
        }
        if lost > 0 && self.end == CloseReason::ServerClosed {
            self.end = CloseReason::Error;
        }
        // Whichever reason is first: from here on nobody may give another. But what
        // was to end in order and broke with exchanges in flight did not.
        record.state.close(self.end);
        if lost > 0 && self.end == CloseReason::Error && !forced {
            record.state.break_off();
        }
        record.state.commit();
        // Unless a drain has named it as cut off.
        if lost > 0 {
            record.shared.note_lost(&self.connection, lost);
        }
        if record.watched.is_missing() {
            record.shared.watched.count_unwatched();
        }
        let reason = record.state.seen().reason().unwrap_or(self.end);
        record.closing.notify_waiters();
        record.shared.remove(&self.connection, self.key, reason);
    }
}
