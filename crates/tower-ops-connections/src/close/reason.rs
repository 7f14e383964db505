use std::fmt;

/// Why a connection ended, or is about to. The first reason wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it.
    ClientClosed,
    /// Reading or writing failed; a reset by the peer is one. Also a violation of the
    /// protocol, or another error of the server's, with exchanges in flight: that
    /// takes the place of any reason the connection was being closed for.
    Error,
    /// The server closed it: after `Connection: close`, for a violation of the
    /// protocol with nothing in flight, or because it was dropped.
    ServerClosed,
    /// Nothing was asked for too long.
    Idle,
    /// It had been open for long enough.
    MaxAge,
    /// It had served as many requests as one connection may.
    MaxRequests,
    /// A request's head, or the HTTP/2 preface, did not come to its end in time.
    HeaderTimeout,
    /// Nothing came at all.
    FirstByteTimeout,
    /// TLS was not agreed on, or not in time.
    Handshake,
    /// The peer read its response, or sent its request's body, too slowly.
    Stalled,
    /// The server is shutting down.
    Drain,
    /// Somebody asked for it: [`Connections::close`](crate::Connections::close).
    Manual,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::ClientClosed,
        Self::Error,
        Self::ServerClosed,
        Self::Idle,
        Self::MaxAge,
        Self::MaxRequests,
        Self::HeaderTimeout,
        Self::FirstByteTimeout,
        Self::Handshake,
        Self::Stalled,
        Self::Drain,
        Self::Manual,
    ];

    /// The reason as metrics and `/connections` name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::Error => "error",
            Self::ServerClosed => "server_closed",
            Self::Idle => "idle",
            Self::MaxAge => "max_age",
            Self::MaxRequests => "max_requests",
            Self::HeaderTimeout => "header_timeout",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::Handshake => "handshake",
            Self::Stalled => "stalled",
            Self::Drain => "drain",
            Self::Manual => "manual",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Whether the peer is told nothing and waited for no longer: it sent nothing
    /// to be answered, or does not take the answer.
    pub(crate) const fn is_abrupt(self) -> bool {
        matches!(
            self,
            Self::HeaderTimeout | Self::FirstByteTimeout | Self::Stalled
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_the_place_in_the_list() {
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
