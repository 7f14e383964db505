use std::error::Error;
use std::fmt;

use http::StatusCode;

/// Why state was not captured or restored.
#[derive(Clone, Debug)]
pub struct StateError {
    kind: ErrorKind,
    message: String,
    participant: Option<String>,
    rolled_back: Option<bool>,
}

/// Which kind of problem a [`StateError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It is no envelope, or a broken one. 400.
    Broken,
    /// A capture or a restore is running. 409.
    Busy,
    /// The state was handed over; this instance has it no more. 409.
    HandedOver,
    /// This instance serves, or nothing says that it may be restored now. 409.
    NotNow,
    /// The generation is not the expected one, or older than the one here. 412.
    Generation,
    /// It is larger than allowed. 413.
    TooLarge,
    /// It is an envelope, and not for this application or not for a participant. 422.
    Refused,
    /// A participant did not commit, and one could not be rolled back: what is there is
    /// neither the old state nor the new one. 500.
    Inconsistent,
    /// The file could not be read or written, or something that never should happen
    /// did. 500.
    Internal,
    /// There is nobody to capture, or to restore. 503.
    Unavailable,
    /// It took too long. 504.
    TimedOut,
}

impl ErrorKind {
    /// The status that the service answers with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Busy | Self::HandedOver | Self::NotNow => StatusCode::CONFLICT,
            Self::Generation => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Inconsistent | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl StateError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            participant: None,
            rolled_back: None,
        }
    }

    pub(crate) fn with_participant(mut self, name: &str) -> Self {
        self.participant = Some(name.to_owned());
        self
    }

    pub(crate) const fn with_rolled_back(mut self, rolled_back: bool) -> Self {
        self.rolled_back = Some(rolled_back);
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn add(mut self, text: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(text);
        self
    }

    pub(crate) fn busy() -> Self {
        Self::new(ErrorKind::Busy, "another capture or restore is running")
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the state is larger than the limit of {limit} bytes");
        Self::new(ErrorKind::TooLarge, message)
    }

    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, error.to_string())
    }

    /// Which kind of problem it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The participant that it is about.
    #[must_use]
    pub fn participant(&self) -> Option<&str> {
        self.participant.as_deref()
    }

    /// Whether all participants have again what they had before; `None` if none of
    /// them had been given anything.
    #[must_use]
    pub const fn rolled_back(&self) -> Option<bool> {
        self.rolled_back
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(participant) = &self.participant {
            write!(f, "{participant}: ")?;
        }
        f.write_str(&self.message)?;
        match self.rolled_back {
            Some(true) => f.write_str("; all was rolled back"),
            Some(false) => f.write_str("; not all could be rolled back"),
            None => Ok(()),
        }
    }
}

impl Error for StateError {}
