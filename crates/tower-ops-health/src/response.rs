//! The answers, and how each looks as a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::accept::Format;

/// The body of every answer: a few bytes, all there at once.
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

/// Tells whether a probe answers this method.
pub(crate) fn is_allowed(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Everything that a service of this crate can say. Nothing of the request ever stands in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Ok,
    Down,
    NotFound,
    MethodNotAllowed,
}

impl Answer {
    pub(crate) fn to_response(self, method: &Method, headers: &HeaderMap) -> Response<ProbeBody> {
        let format = Format::negotiate(headers);
        let content = self.content(format);
        // HEAD names the length that GET would have sent.
        let length = content.len();
        let sent = if *method == Method::HEAD { "" } else { content };

        let mut response = Response::new(ProbeBody {
            inner: Full::new(Bytes::from_static(sent.as_bytes())),
        });
        *response.status_mut() = self.code();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        );
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-store, must-revalidate"),
        );
        if matches!(self, Self::MethodNotAllowed) {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    const fn code(self) -> StatusCode {
        match self {
            Self::Ok => StatusCode::OK,
            Self::Down => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The body, with a newline at its end, so that a terminal's prompt stays in its column.
    const fn content(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Ok, Format::Json) => "{\"status\":\"ok\"}\n",
            (Self::Ok, Format::Text) => "ok\n",
            (Self::Down, Format::Json) => "{\"status\":\"down\"}\n",
            (Self::Down, Format::Text) => "down\n",
            (Self::NotFound, Format::Json) => {
                "{\"error\":\"not found\",\"paths\":[\"/health\",\"/ready\",\"/startup\"]}\n"
            }
            (Self::NotFound, Format::Text) => "not found: try /health, /ready or /startup\n",
            (Self::MethodNotAllowed, Format::Json) => {
                "{\"error\":\"method not allowed\",\"allow\":[\"GET\",\"HEAD\"]}\n"
            }
            (Self::MethodNotAllowed, Format::Text) => "method not allowed: use GET or HEAD\n",
        }
    }
}
