use std::error::Error;
use std::fmt;
use std::io;

/// Why something could not be started, such as a listener whose port is taken: a sentence with the
/// address, and the [kind](io::ErrorKind) of the system's error.
///
/// `main` prints that sentence when it returns this in a `Box<dyn Error>`. A `main` that returns
/// [`io::Result`] takes it with `?` as well; [`io::Error`] then prints its kind before the sentence.
///
/// # Examples
///
/// ```
/// use std::error::Error;
/// use std::io::ErrorKind;
/// use tower_ops_core::config::StartError;
///
/// let error = StartError::new(ErrorKind::AddrInUse, "cannot listen on 127.0.0.1:8080");
/// assert_eq!(error.kind(), ErrorKind::AddrInUse);
/// let boxed: Box<dyn Error> = error.into();
/// assert_eq!(format!("{boxed:?}"), "cannot listen on 127.0.0.1:8080");
/// ```
pub struct StartError {
    kind: io::ErrorKind,
    text: String,
    source: Option<io::Error>,
}

impl StartError {
    /// An error that nothing else caused.
    pub fn new(kind: io::ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            source: None,
        }
    }

    /// An error that the system's caused, which is its [source](Error::source).
    pub fn from_source(source: io::Error, text: impl Into<String>) -> Self {
        Self {
            kind: source.kind(),
            text: text.into(),
            source: Some(source),
        }
    }

    /// The kind of the system's error.
    #[must_use]
    pub const fn kind(&self) -> io::ErrorKind {
        self.kind
    }

    /// Appends what the caller knows, such as the name of the setting.
    #[must_use]
    pub fn with_hint(mut self, hint: impl fmt::Display) -> Self {
        self.text = format!("{} ({hint})", self.text);
        self
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As [`Display`](fmt::Display): this is what `main` prints when it returns the error, and what
/// `expect` does.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_ref()?;
        Some(source)
    }
}

/// For functions that return [`io::Result`]. Keeps the kind, the sentence and the source.
impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        Self::new(error.kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_that_was_made_of_one_keeps_kind_sentence_and_source() {
        let system = io::Error::from(io::ErrorKind::AddrInUse);
        let error = StartError::from_source(system, "cannot listen").with_hint("ops_addr sets it");
        assert_eq!(format!("{error:?}"), "cannot listen (ops_addr sets it)");
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), "cannot listen (ops_addr sets it)");
        let ours = error.get_ref().and_then(|inner| inner.downcast_ref());
        let ours: &StartError = ours.expect("it is still there");
        assert!(ours.source().is_some());
    }
}
