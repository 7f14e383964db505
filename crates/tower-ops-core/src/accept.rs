//! What an error of accepting a connection is about.

use std::io;

/// Returns whether the process or the system has no file descriptors left.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    // EMFILE and ENFILE, everywhere but on Windows: WSAEMFILE.
    matches!(error.raw_os_error(), Some(23 | 24 | 10_024))
}

/// Returns whether the error is about one connection, which was closed while it waited: the next
/// one can be accepted at once.
#[must_use]
pub fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
