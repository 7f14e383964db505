//! The answers of the service, and how each looks as a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde::Serialize;

use crate::query::BadQuery;

/// The body of an answer of the [`RequestsService`](crate::RequestsService): all
/// there at once.
#[derive(Clone, Debug, Default)]
pub struct RequestsBody {
    inner: Full<Bytes>,
}

impl Body for RequestsBody {
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

pub(crate) struct Answer {
    status: StatusCode,
    json: Vec<u8>,
}

/// What went wrong. Quotes nothing of the request.
#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a [&'a str]>,
}

impl<'a> Problem<'a> {
    const fn new(error: &'a str) -> Self {
        Self {
            error,
            paths: None,
            allow: None,
            parameters: None,
        }
    }
}

impl Answer {
    pub(crate) fn ok(content: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, content)
    }

    pub(crate) fn not_found() -> Self {
        let problem = Problem {
            paths: Some(&["/requests", "/requests/history", "/requests/stats"]),
            ..Problem::new("not found")
        };
        Self::json(StatusCode::NOT_FOUND, &problem)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let problem = Problem {
            allow: Some(&["GET", "HEAD"]),
            ..Problem::new("method not allowed")
        };
        Self::json(StatusCode::METHOD_NOT_ALLOWED, &problem)
    }

    pub(crate) fn bad_query(bad: &BadQuery, valid: &[&str]) -> Self {
        let problem = Problem {
            parameters: Some(valid),
            ..Problem::new(&bad.message)
        };
        Self::json(StatusCode::BAD_REQUEST, &problem)
    }

    fn json(status: StatusCode, content: &impl Serialize) -> Self {
        match serde_json::to_vec(content) {
            Ok(mut json) => {
                // So that a terminal's prompt stays in its column.
                json.push(b'\n');
                Self { status, json }
            }
            // None of our types fails to serialise, but a layer does not panic.
            Err(_) => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                json: b"{\"error\":\"the answer could not be written\"}\n".to_vec(),
            },
        }
    }

    pub(crate) fn into_response(self, method: &Method) -> Response<RequestsBody> {
        let length = self.json.len();
        // HEAD names the length that GET would have sent.
        let sent = if *method == Method::HEAD {
            Bytes::new()
        } else {
            self.json.into()
        };
        let mut response = Response::new(RequestsBody {
            inner: Full::new(sent),
        });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
        // A browser must not take what a client put into its path for a page.
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
