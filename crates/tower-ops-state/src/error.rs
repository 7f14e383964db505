use std::error::Error;
use std::fmt;

use http::StatusCode;
use serde::Serialize;

use crate::audit::Outcome;

/// Why the state was not captured or restored. Serialises as what the service answers.
#[derive(Clone, Debug, Serialize)]
pub struct StateError {
    #[serde(skip)]
    kind: ErrorKind,
    #[serde(rename = "error")]
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolled_back: Option<bool>,
}

pub(crate) type StateResult<T> = Result<T, StateError>;

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
        self.answer().0
    }

    /// Returns how the audit calls it.
    pub(crate) const fn outcome(self) -> Outcome {
        Outcome(self.answer().1)
    }

    pub(crate) fn error(self, message: impl Into<String>) -> StateError {
        StateError {
            kind: self,
            message: message.into(),
            participant: None,
            rolled_back: None,
        }
    }

    const fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Broken => (StatusCode::BAD_REQUEST, "broken"),
            Self::Busy | Self::HandedOver | Self::NotNow => (StatusCode::CONFLICT, "conflict"),
            Self::Generation => (StatusCode::PRECONDITION_FAILED, "generation"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Refused => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            Self::Inconsistent | Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
        }
    }
}

impl StateError {
    pub(crate) fn with_participant(mut self, name: &str) -> Self {
        self.participant = Some(name.to_owned());
        self
    }

    /// After a commit that failed: whether the rollback succeeded.
    pub(crate) const fn with_rolled_back(mut self, rolled_back: bool) -> Self {
        self.rolled_back = Some(rolled_back);
        if !rolled_back {
            self.kind = ErrorKind::Inconsistent;
        }
        self
    }

    pub(crate) fn add(mut self, text: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(text);
        self
    }

    pub(crate) fn busy() -> Self {
        ErrorKind::Busy.error("another capture or restore is running")
    }

    pub(crate) fn handed_over() -> Self {
        let text = "the state was already handed over; if no instance took it, POST ?resume=1";
        ErrorKind::HandedOver.error(text)
    }

    /// No caller waits for the result any more.
    pub(crate) fn abandoned() -> Self {
        ErrorKind::TimedOut.error("it was abandoned before anything was changed")
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        ErrorKind::TooLarge.error(format!(
            "the state is larger than the limit of {limit} bytes"
        ))
    }

    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        ErrorKind::Internal.error(error.to_string())
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
