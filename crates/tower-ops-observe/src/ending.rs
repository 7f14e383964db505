use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::grpc::GrpcCode;

/// How an exchange, or other tracked work, ended. Each has exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The whole response was handed to the transport.
    Completed,
    /// The service returned an error instead of a response, or a 1xx status, which
    /// is no final response: on HTTP/1, the client gets a 500.
    Failed,
    /// The service returned a timeout error instead of a response.
    TimedOut,
    /// The response body yielded an error, or is not as long as the head announced:
    /// a client takes such a response for broken.
    BodyFailed,
    /// The exchange was dropped before there was a response head: the client
    /// went away, or something around the service gave up on it. Also if the client
    /// broke the request's body off, and the service returned an error.
    CancelledBeforeHead,
    /// The response body was dropped before its end. Also if the client broke the
    /// request's body off, whatever the service answered.
    CancelledDuringBody,
    /// The service, its future or its body panicked, also if the panic was
    /// [caught](crate::CaughtPanic) and answered.
    Panicked,
    /// The connection was handed over: `101 Switching Protocols`, or a
    /// successful `CONNECT`.
    Upgraded,
    /// Work that is no exchange, and so has neither head nor body, was dropped. Never the outcome
    /// of an exchange.
    Cancelled,
}

impl Outcome {
    /// Every outcome of an exchange, in the order of the definition: all but
    /// [`Cancelled`](Self::Cancelled), which is the last.
    pub const ALL: [Self; 8] = [
        Self::Completed,
        Self::Failed,
        Self::TimedOut,
        Self::BodyFailed,
        Self::CancelledBeforeHead,
        Self::CancelledDuringBody,
        Self::Panicked,
        Self::Upgraded,
    ];

    /// The outcome in snake case, fit for a label or a log field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::BodyFailed => "body_failed",
            Self::CancelledBeforeHead => "cancelled_before_head",
            Self::CancelledDuringBody => "cancelled_during_body",
            Self::Panicked => "panicked",
            Self::Upgraded => "upgraded",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it was dropped before its end.
    #[must_use]
    pub const fn is_cancelled(self) -> bool {
        matches!(
            self,
            Self::CancelledBeforeHead | Self::CancelledDuringBody | Self::Cancelled
        )
    }

    /// Returns the class of an outcome, with the status of a response that completed.
    ///
    /// A gRPC status goes before the HTTP status, which is `200` for nearly
    /// every gRPC response.
    #[must_use]
    pub fn class(self, status: Option<StatusCode>, grpc: Option<GrpcCode>) -> Class {
        match self {
            Self::Failed | Self::BodyFailed | Self::Panicked => Class::ServerError,
            Self::TimedOut => Class::Timeout,
            Self::CancelledBeforeHead | Self::CancelledDuringBody | Self::Cancelled => {
                Class::Cancelled
            }
            Self::Upgraded => Class::Success,
            Self::Completed => match (grpc, status) {
                (Some(code), _) => code.class(),
                (None, Some(StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT)) => {
                    Class::Timeout
                }
                // RFC 9110, section 15: what has no class is to be taken for a 5xx.
                (None, Some(status)) if status.as_u16() >= 500 => Class::ServerError,
                (None, Some(status)) if status.is_client_error() => Class::ClientError,
                (None, _) => Class::Success,
            },
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an outcome means to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// Answered as asked.
    Success,
    /// The client asked for something that it cannot have (4xx).
    ClientError,
    /// The service is at fault (5xx, an error, a panic).
    ServerError,
    /// It took too long.
    Timeout,
    /// The client, or something on its behalf, gave up.
    Cancelled,
}

impl Class {
    /// Every class, in the order of the definition.
    pub const ALL: [Self; 5] = [
        Self::Success,
        Self::ClientError,
        Self::ServerError,
        Self::Timeout,
        Self::Cancelled,
    ];

    /// The class in snake case, fit for a label or a log field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The part of an exchange in which it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// There was no response head yet.
    Head,
    /// The head was there; the body was on its way, or through.
    Body,
}

impl Phase {
    /// The phase in snake case, fit for a label or a log field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Body => "body",
        }
    }
}

/// The facts of how one exchange ended, handed to
/// [`Observe::on_end`](crate::Observe::on_end) exactly once.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc: Option<GrpcCode>,
    pub(crate) plain: bool,
    pub(crate) time_to_head: Option<Duration>,
    pub(crate) duration: Duration,
    pub(crate) bytes_sent: u64,
    pub(crate) error: Option<&'a (dyn Error + 'static)>,
}

impl<'a> Ending<'a> {
    /// Of an exchange that came no further than to its observers.
    pub(crate) fn panicked(started: Instant) -> Self {
        Self {
            outcome: Outcome::Panicked,
            status: None,
            grpc: None,
            plain: false,
            time_to_head: None,
            duration: started.elapsed(),
            bytes_sent: 0,
            error: None,
        }
    }

    /// How it ended.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The outcome and the status folded to one of five classes.
    ///
    /// A gRPC call that something answered in plain HTTP with a status of 4xx is
    /// classed by that status: so is one of a method that was never seen, which
    /// counts as no call then.
    #[must_use]
    pub fn class(&self) -> Class {
        let blames_client = self.status.is_some_and(|status| status.is_client_error());
        let grpc = self.grpc.filter(|_| !self.plain || !blames_client);
        self.outcome.class(self.status, grpc)
    }

    /// In which phase it ended.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        if self.time_to_head.is_some() {
            Phase::Body
        } else {
            Phase::Head
        }
    }

    /// The response's HTTP status, if there was a response head. It is kept
    /// when the body was cut or failed afterwards.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// The gRPC status: from the trailers, else from the head (a trailers-only
    /// response). [`GrpcCode::Unknown`] for a gRPC response that completed
    /// without one; what the HTTP status stands for where a layer answered a
    /// call in plain HTTP; `None` for other responses, and for one that
    /// was cut before its status.
    #[must_use]
    pub const fn grpc_status(&self) -> Option<GrpcCode> {
        self.grpc
    }

    /// From the request head to the response head, if there was one.
    #[must_use]
    pub const fn time_to_head(&self) -> Option<Duration> {
        self.time_to_head
    }

    /// From the request head to this end.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.duration
    }

    /// Bytes of the response body that the transport took, without framing.
    #[must_use]
    pub const fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// The error of a [`Failed`](Outcome::Failed),
    /// [`TimedOut`](Outcome::TimedOut) or [`BodyFailed`](Outcome::BodyFailed)
    /// exchange, where its type is one that this crate can look into: boxed
    /// errors, `std::io::Error`, the timeouts of tokio and tower, axum's error.
    #[must_use]
    pub const fn error(&self) -> Option<&'a (dyn Error + 'static)> {
        self.error
    }
}
