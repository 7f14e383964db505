use std::fmt;

/// Why a connection was closed, or is being closed. The first reason wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it.
    ClientClosed,
    /// Reading or writing failed, for example by a reset. Also a protocol violation, or another error
    /// of the server's, with exchanges in flight: that replaces any reason for which the connection
    /// was being closed.
    Error,
    /// The server closed it: after `Connection: close`, for a protocol violation with nothing in
    /// flight, or because it was dropped.
    ServerClosed,
    /// There was no exchange for the idle timeout.
    Idle,
    /// It reached its maximum age.
    MaxAge,
    /// It reached its maximum number of requests.
    MaxRequests,
    /// The head of a request, or the HTTP/2 preface, was not complete in time.
    HeaderTimeout,
    /// No byte came in time.
    FirstByteTimeout,
    /// The TLS handshake failed, or was not complete in time.
    Handshake,
    /// The peer was too slow to read its response, or to send its request body.
    Stalled,
    /// The server is shutting down.
    Drain,
    /// It was closed by hand: [`Connections::close`](crate::Connections::close).
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

    /// Returns the label in metrics and at `/connections`.
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

    /// Returns whether the connection ends at once, without GOAWAY and grace: the peer sent nothing
    /// to respond to, or does not read the response.
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
