use std::fmt;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Too few bytes have come to know.
    Unknown,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Whatever came after an upgrade: a WebSocket, a tunnel.
    Upgraded,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Http1, Self::Http2, Self::Upgraded];

    /// Returns the label in metrics and at `/connections`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Upgraded => "upgraded",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn from_index(index: u8) -> Self {
        match index {
            1 => Self::Http1,
            2 => Self::Http2,
            3 => Self::Upgraded,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
