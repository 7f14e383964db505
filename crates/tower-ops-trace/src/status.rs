use std::fmt;

use http::{Request, StatusCode};
use tower_ops_observe::{Ending, Facts, GrpcCode, KnownMethod, Outcome, Route, Side};

/// How a span ended, by the conventions for HTTP and RPC of OpenTelemetry.
///
/// | ending | server | client |
/// |---|---|---|
/// | HTTP 1xx to 3xx, gRPC `OK`, an upgrade | unset | unset |
/// | HTTP 4xx | unset | error, the code |
/// | HTTP 5xx | error, the code | error, the code |
/// | gRPC `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS` | error, the code | error, the code |
/// | any other gRPC code | unset | error, the code |
/// | failed | error, `error` | error, `error` |
/// | timed out | error, `timeout` | error, `timeout` |
/// | a body that failed | error, `body_error` | error, `body_error` |
/// | panicked | error, `panic` | error, `panic` |
/// | cancelled | unset, `cancelled` | unset: the caller wanted it |
///
/// What follows the comma is `error.type`. Metrics of tower-ops-metrics have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanStatus {
    is_error: bool,
    error_type: Option<ErrorType>,
}

impl SpanStatus {
    /// Finds the status of an exchange that ended.
    #[must_use]
    #[inline]
    pub fn of(ending: &Ending<'_>, facts: &Facts) -> Self {
        let is_client = facts.side() == Side::Client;
        match ending.outcome() {
            Outcome::Completed => match (ending.grpc_status(), ending.status()) {
                (Some(GrpcCode::Ok), _) => Self::UNSET,
                (Some(code), _) if is_client || code.is_server_error() => {
                    Self::error(ErrorType::Grpc(code))
                }
                (None, Some(status))
                    if status.as_u16() >= 500 || (is_client && status.is_client_error()) =>
                {
                    Self::error(ErrorType::Http(status))
                }
                _ => Self::UNSET,
            },
            Outcome::Upgraded => Self::UNSET,
            outcome if outcome.is_cancelled() => Self {
                is_error: false,
                error_type: (!is_client).then_some(ErrorType::Outcome(outcome)),
            },
            outcome => Self::error(ErrorType::Outcome(outcome)),
        }
    }

    const UNSET: Self = Self {
        is_error: false,
        error_type: None,
    };

    const fn error(error_type: ErrorType) -> Self {
        Self {
            is_error: true,
            error_type: Some(error_type),
        }
    }

    /// Whether the span's status is `Error`; else it stays unset.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.is_error
    }

    /// Returns what belongs into `error.type`.
    #[must_use]
    pub const fn error_type(self) -> Option<ErrorType> {
        self.error_type
    }
}

/// The value of `error.type`: one of a few, whatever a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorType {
    /// An HTTP status, as its number.
    Http(StatusCode),
    /// A gRPC code, as its name.
    Grpc(GrpcCode),
    /// How the exchange went wrong.
    Outcome(Outcome),
}

impl ErrorType {
    /// Returns it as text: `500`, `UNAVAILABLE`, `body_error`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http(status) => status.as_str(),
            Self::Grpc(code) => code.as_str(),
            Self::Outcome(outcome) => match outcome {
                Outcome::TimedOut => "timeout",
                Outcome::BodyFailed => "body_error",
                Outcome::Panicked => "panic",
                outcome if outcome.is_cancelled() => "cancelled",
                _ => "error",
            },
        }
    }
}

/// The name of a span by the conventions: `GET /users/{id}`, `GET`, `package.Service/Method`.
///
/// A method that is not a known one is `HTTP`, and a gRPC method that nobody registered is `grpc`:
/// nothing that a client invents gets in. Made by [`Display`](fmt::Display).
#[derive(Clone, Copy, Debug)]
pub struct SpanName<'a> {
    method: KnownMethod,
    is_grpc: bool,
    target: Option<&'a str>,
}

impl<'a> SpanName<'a> {
    /// The name of a request that came in. It can change until the exchange has ended, with the
    /// route.
    #[must_use]
    pub fn incoming(facts: &'a Facts) -> Self {
        let route = facts.route().filter(|route| **route != Route::OTHER);
        Self {
            method: facts.method(),
            is_grpc: facts.is_grpc(),
            target: route.map(Route::as_str),
        }
    }

    /// The name of a request that goes out: of the method alone, since nobody knows its route.
    #[must_use]
    pub fn outgoing<B>(facts: &Facts, request: &'a Request<B>) -> Self {
        let path = request.uri().path();
        Self {
            method: facts.method(),
            is_grpc: facts.is_grpc(),
            target: facts
                .is_grpc()
                .then(|| path.strip_prefix('/').unwrap_or(path)),
        }
    }
}

impl fmt::Display for SpanName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_grpc {
            return f.write_str(self.target.unwrap_or("grpc"));
        }
        f.write_str(match self.method {
            KnownMethod::Other => "HTTP",
            method => method.as_str(),
        })?;
        self.target.map_or(Ok(()), |route| write!(f, " {route}"))
    }
}
