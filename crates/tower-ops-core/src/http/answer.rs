use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use super::headers::{self, has_body};
use super::{AnswerBody, BadQuery};

/// The answer of a service: a status, and content in JSON or as text.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    content: Bytes,
    content_type: &'static str,
    allow: HeaderValue,
    retry_after: Option<u32>,
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
    /// Makes a `200 OK` with `content`.
    #[must_use]
    pub fn ok(content: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, content)
    }

    /// Makes a `404 Not Found` that lists the paths that there are.
    #[must_use]
    pub fn not_found(paths: &[&str]) -> Self {
        let problem = Problem {
            paths: Some(paths),
            ..Problem::new("not found")
        };
        Self::json(StatusCode::NOT_FOUND, &problem)
    }

    /// Makes a `405 Method Not Allowed` that lists the methods that are.
    #[must_use]
    pub fn method_not_allowed(allow: &[&str]) -> Self {
        let problem = Problem {
            allow: Some(allow),
            ..Problem::new("method not allowed")
        };
        Self::json(StatusCode::METHOD_NOT_ALLOWED, &problem).with_allow(allow)
    }

    /// Sets the methods that the path has, besides OPTIONS. GET and HEAD by default. Part of the
    /// answers to OPTIONS, and of [`method_not_allowed`](Self::method_not_allowed).
    #[must_use]
    pub fn with_allow(mut self, methods: &[&str]) -> Self {
        self.allow = headers::allow(methods);
        self
    }

    /// Makes a `503 Service Unavailable`, to be tried again after so many seconds.
    #[must_use]
    pub fn busy(error: &str, retry_after: u32) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::problem(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }

    /// Makes a `400 Bad Request` that lists the parameters that the path has.
    #[must_use]
    pub fn bad_query(bad: &BadQuery, valid: &[&str]) -> Self {
        let problem = Problem {
            parameters: Some(valid),
            ..Problem::new(bad.message())
        };
        Self::json(StatusCode::BAD_REQUEST, &problem)
    }

    /// Makes an answer with `status` and the text of what is wrong. `401 Unauthorized` also asks for
    /// a bearer token (RFC 6750).
    #[must_use]
    pub fn problem(status: StatusCode, error: &str) -> Self {
        Self::json(status, &Problem::new(error))
    }

    /// Makes an answer with `status` and `content`.
    #[must_use]
    pub fn json(status: StatusCode, content: &impl Serialize) -> Self {
        let (status, json) = match serde_json::to_vec(content) {
            Ok(mut json) => {
                // So that a terminal's prompt stays in its column.
                json.push(b'\n');
                (status, json)
            }
            // None of our types fails to serialise, but a service does not panic.
            Err(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                b"{\"error\":\"the answer could not be written\"}\n".to_vec(),
            ),
        };
        Self::new(status, json.into(), "application/json")
    }

    /// Makes an answer with `status` and plain text, which should end in a newline.
    #[must_use]
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self::new(status, text.into(), "text/plain; charset=utf-8")
    }

    fn new(status: StatusCode, content: Bytes, kind: &'static str) -> Self {
        Self {
            status,
            content,
            content_type: kind,
            allow: headers::allow(&["GET", "HEAD"]),
            retry_after: None,
        }
    }

    /// Sets the type of the content. `application/json` by default, and `text/plain` of a text.
    #[must_use]
    pub const fn with_content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// The response to a request of that method: to HEAD without the body and with its length,
    /// to OPTIONS with `Allow` and nothing else.
    #[must_use]
    pub fn into_response(self, method: &Method) -> Response<AnswerBody> {
        let length = self.content.len();
        let sent = if has_body(method) {
            self.content
        } else {
            Bytes::new()
        };
        let mut response = Response::new(AnswerBody::new(sent));
        *response.status_mut() = self.status;
        let is_options = *method == Method::OPTIONS;
        let headers = response.headers_mut();
        if is_options {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        } else {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers::secure(headers);
        if is_options || self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, self.allow);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body;

    use super::*;

    #[test]
    fn a_head_names_the_length_and_has_no_body() {
        let response = Answer::ok(&"content").into_response(&Method::HEAD);
        assert_eq!(response.headers()[CONTENT_LENGTH], "10");
        assert!(response.body().is_end_stream());
    }

    #[test]
    fn a_405_names_the_methods_in_its_header() {
        let answer = Answer::method_not_allowed(&["GET", "DELETE"]);
        let response = answer.into_response(&Method::PUT);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "GET, DELETE, OPTIONS");
    }

    #[test]
    fn options_has_the_status_of_get_and_the_methods_and_no_body() {
        for answer in [
            Answer::ok(&"content"),
            Answer::not_found(&["/"]),
            Answer::problem(StatusCode::UNAUTHORIZED, "no"),
        ] {
            let status = answer.status;
            let response = answer.into_response(&Method::OPTIONS);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[ALLOW], "GET, HEAD, OPTIONS");
            assert_eq!(response.headers()[CONTENT_LENGTH], "0");
            assert!(!response.headers().contains_key(CONTENT_TYPE));
            assert!(response.body().is_end_stream());
        }
    }

    #[test]
    fn text_has_the_same_headers() {
        let answer = || Answer::text(StatusCode::NOT_FOUND, "not here\n");
        let response = answer().into_response(&Method::HEAD);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            response.headers()[CONTENT_TYPE],
            "text/plain; charset=utf-8"
        );
        assert_eq!(response.headers()[CONTENT_LENGTH], "9");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert!(response.body().is_end_stream());
        let response = answer().into_response(&Method::OPTIONS);
        assert_eq!(response.headers()[ALLOW], "GET, HEAD, OPTIONS");
        assert!(!response.headers().contains_key(CONTENT_TYPE));
    }

    #[test]
    fn a_401_asks_for_a_token() {
        let answer = Answer::problem(StatusCode::UNAUTHORIZED, "no");
        let response = answer.into_response(&Method::GET);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
