use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::{AnswerBody, BadQuery};

/// What a service answers.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    json: Vec<u8>,
    allow: Option<HeaderValue>,
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
    /// `200 OK` with `content`.
    #[must_use]
    pub fn ok(content: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, content)
    }

    /// `404 Not Found`, with the paths that there are.
    #[must_use]
    pub fn not_found(paths: &[&str]) -> Self {
        let problem = Problem {
            paths: Some(paths),
            ..Problem::new("not found")
        };
        Self::json(StatusCode::NOT_FOUND, &problem)
    }

    /// `405 Method Not Allowed`, with the methods that are.
    #[must_use]
    pub fn method_not_allowed(allow: &[&str]) -> Self {
        let problem = Problem {
            allow: Some(allow),
            ..Problem::new("method not allowed")
        };
        Self {
            allow: HeaderValue::try_from(allow.join(", ")).ok(),
            ..Self::json(StatusCode::METHOD_NOT_ALLOWED, &problem)
        }
    }

    /// `400 Bad Request`, with the parameters that the path has.
    #[must_use]
    pub fn bad_query(bad: &BadQuery, valid: &[&str]) -> Self {
        let problem = Problem {
            parameters: Some(valid),
            ..Problem::new(bad.message())
        };
        Self::json(StatusCode::BAD_REQUEST, &problem)
    }

    /// `status`, and in words what is wrong. `401 Unauthorized` also says that a
    /// bearer token is wanted (RFC 6750).
    #[must_use]
    pub fn problem(status: StatusCode, error: &str) -> Self {
        Self::json(status, &Problem::new(error))
    }

    /// `status` with `content`.
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
        Self {
            status,
            json,
            allow: None,
        }
    }

    /// The response to a request of that method.
    #[must_use]
    pub fn into_response(self, method: &Method) -> Response<AnswerBody> {
        let length = self.json.len();
        // HEAD names the length that GET would have sent.
        let sent = if *method == Method::HEAD {
            Bytes::new()
        } else {
            self.json.into()
        };
        let mut response = Response::new(AnswerBody::new(sent));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
        // A browser must not take what a client put into its path for a page.
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, allow);
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
        assert_eq!(response.headers()[ALLOW], "GET, DELETE");
    }

    #[test]
    fn a_401_asks_for_a_token() {
        let answer = Answer::problem(StatusCode::UNAUTHORIZED, "no");
        let response = answer.into_response(&Method::GET);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
