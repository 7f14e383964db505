//! The answers, and how each looks as a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tower_ops_core::http::{allow, has_body, secure};

use crate::accept::Format;
use crate::status::Status;

/// The body of every answer: all there at once.
#[derive(Clone, Debug, Default)]
pub struct ProbeBody {
    inner: Full<Bytes>,
}

impl Body for ProbeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer, but for what depends on the method.
#[derive(Debug)]
pub(crate) struct Answer {
    code: StatusCode,
    format: Format,
    content: Bytes,
    allow: bool,
    /// A token would have shown more.
    challenge: bool,
}

impl Answer {
    /// The status alone, which anybody may know.
    pub(crate) const fn status(code: StatusCode, format: Format, status: Status) -> Self {
        Self::fixed(code, format, status_only(format, status))
    }

    /// Something with details.
    pub(crate) fn details(code: StatusCode, format: Format, content: String) -> Self {
        Self {
            content: content.into(),
            ..Self::fixed(code, format, "")
        }
    }

    /// Nothing is served on this path.
    pub(crate) fn no_such_path(headers: &HeaderMap) -> Self {
        let format = Format::negotiate(headers);
        let content = match format {
            Format::Json | Format::HealthJson => NOT_FOUND_JSON,
            Format::Text => NOT_FOUND_TEXT,
        };
        Self::problem(StatusCode::NOT_FOUND, format, content)
    }

    /// A check is named that there is not. Which ones there are is a detail.
    pub(crate) const fn no_such_check(format: Format) -> Self {
        let content = match format {
            Format::Json | Format::HealthJson => "{\"error\":\"unknown check\"}\n",
            Format::Text => "unknown check\n",
        };
        Self::problem(StatusCode::NOT_FOUND, format, content)
    }

    /// Whether there is a check of that name is a detail as well.
    pub(crate) const fn token_needed(format: Format) -> Self {
        let content = match format {
            Format::Json | Format::HealthJson => {
                "{\"error\":\"a bearer token is needed to ask for a check by its name\"}\n"
            }
            Format::Text => "a bearer token is needed to ask for a check by its name\n",
        };
        Self::problem(StatusCode::UNAUTHORIZED, format, content)
    }

    pub(crate) fn method_not_allowed(headers: &HeaderMap) -> Self {
        let format = Format::negotiate(headers);
        let content = match format {
            Format::Json | Format::HealthJson => {
                "{\"error\":\"method not allowed\",\"allow\":[\"GET\",\"HEAD\"]}\n"
            }
            Format::Text => "method not allowed: use GET or HEAD\n",
        };
        Self {
            allow: true,
            ..Self::problem(StatusCode::METHOD_NOT_ALLOWED, format, content)
        }
    }

    /// What is wrong is no health document.
    const fn problem(code: StatusCode, format: Format, content: &'static str) -> Self {
        let format = match format {
            Format::HealthJson => Format::Json,
            Format::Json | Format::Text => format,
        };
        Self::fixed(code, format, content)
    }

    const fn fixed(code: StatusCode, format: Format, content: &'static str) -> Self {
        Self {
            code,
            format,
            content: Bytes::from_static(content.as_bytes()),
            allow: false,
            challenge: false,
        }
    }

    pub(crate) fn with_challenge(mut self, challenge: bool) -> Self {
        self.challenge = challenge;
        self
    }

    pub(crate) fn into_response(self, method: &Method) -> Response<ProbeBody> {
        // HEAD names the length that GET would have sent.
        let length = self.content.len();
        let sent = if has_body(method) {
            self.content
        } else {
            Bytes::new()
        };
        let mut response = Response::new(ProbeBody {
            inner: Full::new(sent),
        });
        *response.status_mut() = self.code;
        let is_options = *method == Method::OPTIONS;
        let headers = response.headers_mut();
        if is_options {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        } else {
            let kind = HeaderValue::from_static(self.format.content_type());
            headers.insert(CONTENT_TYPE, kind);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-store, must-revalidate"),
        );
        secure(headers);
        if self.allow || is_options {
            headers.insert(ALLOW, allow(&["GET", "HEAD"]));
        }
        if self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

const NOT_FOUND_JSON: &str = "{\"error\":\"not found\",\"paths\":[\"/health\",\"/ready\",\
     \"/startup\",\"/health/ping\",\"/health/{check}\",\"/checks\"]}\n";
const NOT_FOUND_TEXT: &str = "not found: try /health, /ready, /startup, /health/ping, \
     /health/{check} or /checks\n";

/// The body, with a newline at its end, so that a terminal's prompt stays in its column.
const fn status_only(format: Format, status: Status) -> &'static str {
    match (format, status) {
        (Format::Json, Status::Ok) => "{\"status\":\"ok\"}\n",
        (Format::Json, Status::Degraded) => "{\"status\":\"degraded\"}\n",
        (Format::Json, Status::Unknown) => "{\"status\":\"unknown\"}\n",
        (Format::Json, Status::Down) => "{\"status\":\"down\"}\n",
        (Format::Text, Status::Ok) => "ok\n",
        (Format::Text, Status::Degraded) => "degraded\n",
        (Format::Text, Status::Unknown) => "unknown\n",
        (Format::Text, Status::Down) => "down\n",
        (Format::HealthJson, Status::Ok) => "{\"status\":\"pass\"}\n",
        (Format::HealthJson, Status::Degraded) => "{\"status\":\"warn\"}\n",
        (Format::HealthJson, Status::Unknown | Status::Down) => "{\"status\":\"fail\"}\n",
    }
}
