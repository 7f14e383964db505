use std::error::Error;
use std::{fmt, io};

/// Why the operations endpoint could not be started, or a server with it.
///
/// One sentence that says what to do, for `Display` and for `Debug` alike: `main` prints the latter
/// of an error that it returns. Turns into an [`io::Error`] of the same [kind](Self::kind) by `?`.
///
/// # Examples
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use tower_ops_admin::StartError;
///
/// let error = Error::new(ErrorKind::AddrInUse, "the address is taken");
/// let error = StartError::from(error);
/// assert_eq!(format!("Error: {error:?}"), "Error: the address is taken");
/// assert_eq!(error.kind(), ErrorKind::AddrInUse);
/// ```
pub struct StartError {
    error: io::Error,
}

impl StartError {
    /// Returns what kind of error it is, such as `AddrInUse`.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self { error }
    }
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        error.error
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
