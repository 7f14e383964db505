use std::error::Error;
use std::fmt;

use http::StatusCode;

/// Why the state was not captured or restored.
#[derive(Clone, Debug)]
pub struct StateError {
    kind: ErrorKind,
    message: String,
    participant: Option<String>,
    rolled_back: Option<bool>,
}

/// The kind of a [`StateError`], with the status that the service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It is not an envelope, or a broken one. 400.
    Broken,
    /// Another capture or restore is running. 409.
    Busy,
    /// The state was handed over, and this instance no longer has it. 409.
    HandedOver,
    /// This instance serves, or nothing allows a restore at this moment. 409.
    NotNow,
    /// The generation is not the expected one, or older than that of this instance. 412.
    Generation,
    /// It is larger than allowed. 413.
    TooLarge,
    /// The envelope is of another application, or a participant refused. 422.
    Refused,
    /// A participant did not commit, and the rollback failed: participants may have parts of two
    /// states. 500.
    Inconsistent,
    /// The file could not be read or written, or an internal error occurred. 500.
    Internal,
    /// There is no participant, or no file is configured. 503.
    Unavailable,
    /// It took too long. 504.
    TimedOut,
}

impl ErrorKind {
    /// Returns the status that the service answers.
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

    /// Only for logs: nobody waits for the result.
    pub(crate) fn abandoned() -> Self {
        Self::new(
            ErrorKind::TimedOut,
            "it was abandoned before anything was changed",
        )
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the state is larger than the limit of {limit} bytes");
        Self::new(ErrorKind::TooLarge, message)
    }

    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, error.to_string())
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the message, without the name of the participant.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the participant that failed.
    #[must_use]
    pub fn participant(&self) -> Option<&str> {
        self.participant.as_deref()
    }

    /// Returns whether all participants have their former state again. `None` if none had been
    /// changed.
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
