use std::fmt::Write;

use http::{HeaderMap, HeaderValue, Method, Request, Response, header};

use super::GrpcCode;

/// The protocol of a gRPC call, by the content type of its request.
///
/// The one rule for what is gRPC: a `POST` whose content type is
/// `application/grpc`, `application/grpc-web` or `application/grpc-web-text`, alone
/// or with a message format (`+proto`). The name is compared without regard to
/// case, and parameters after a `;` do not matter ([RFC 9110, section 8.3.1]).
///
/// A layer that answers in the place of a service must use the protocol of the
/// caller: a gRPC client takes an HTTP status for a broken proxy, and may retry a
/// call that must not be retried.
///
/// [RFC 9110, section 8.3.1]: https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Full;
/// use tower_ops_observe::{GrpcCode, GrpcProtocol};
///
/// fn refuse<B>(request: &Request<B>) -> Response<Full<Bytes>> {
///     if let Some(grpc) = GrpcProtocol::of(request) {
///         return grpc.trailers_only(GrpcCode::Unavailable, "closed for the night");
///     }
///     let mut response = Response::default();
///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///     response
/// }
///
/// let call = Request::post("/shop.Orders/Get").header("content-type", "application/grpc");
/// let response = refuse(&call.body(())?);
/// assert_eq!(response.status(), StatusCode::OK);
/// assert_eq!(response.headers()["grpc-status"], "14");
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the specifications have exactly these"
)]
pub enum GrpcProtocol {
    /// gRPC over HTTP/2: the status is in the trailers.
    Grpc,
    /// gRPC-Web: the status is in the last frame of the body.
    GrpcWeb,
    /// gRPC-Web with its body in base64.
    GrpcWebText,
}

impl GrpcProtocol {
    /// Returns the protocol if the request is a gRPC call.
    ///
    /// Costs a comparison for other methods than `POST`, and a header look-up for
    /// `POST`. Does not allocate.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        // The method first: it spares all others the look-up.
        if *request.method() == Method::POST {
            Self::of_headers(request.headers())
        } else {
            None
        }
    }

    /// Returns the protocol by the content type alone, for a response.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Option<Self> {
        Self::of_content_type(headers.get(header::CONTENT_TYPE)?.as_bytes())
    }

    fn of_content_type(value: &[u8]) -> Option<Self> {
        const GRPC: &[u8] = b"application/grpc";
        let (start, rest) = value.split_at_checked(GRPC.len())?;
        if !start.eq_ignore_ascii_case(GRPC) {
            return None;
        }
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'+' | b';' | b' ' | b'\t'));
        let (variant, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let protocol = if variant.is_empty() {
            Self::Grpc
        } else if variant.eq_ignore_ascii_case(b"-web") {
            Self::GrpcWeb
        } else if variant.eq_ignore_ascii_case(b"-web-text") {
            Self::GrpcWebText
        } else {
            return None;
        };
        // White space may only come before parameters.
        let ends_well = match rest.trim_ascii_start().first() {
            None | Some(b';') => true,
            Some(b'+') => rest[0] == b'+',
            Some(_) => false,
        };
        ends_well.then_some(protocol)
    }

    /// Makes a response that is over with its head ("trailers-only"): HTTP 200 with
    /// the status in the headers.
    ///
    /// The body is `B`'s default, which must be an empty one. `message` is
    /// percent-encoded as the gRPC specification wants it; an empty one is left out.
    /// Keep it short: clients bound the size of a head, some to 8 KiB.
    #[must_use]
    pub fn trailers_only<B: Default>(self, code: GrpcCode, message: &str) -> Response<B> {
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static(self.content_type());
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert("grpc-status", HeaderValue::from(code as u16));
        if let Some(message) = percent_encoded(message) {
            headers.insert("grpc-message", message);
        }
        response
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web",
            Self::GrpcWebText => "application/grpc-web-text",
        }
    }
}

/// All but printable ASCII is encoded, and the `%` itself.
fn percent_encoded(message: &str) -> Option<HeaderValue> {
    if message.is_empty() {
        return None;
    }
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    HeaderValue::try_from(encoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, content_type: &str) -> Option<GrpcProtocol> {
        let request = Request::builder()
            .method(method)
            .header(header::CONTENT_TYPE, content_type);
        GrpcProtocol::of(&request.body(()).unwrap())
    }

    #[test]
    fn a_post_with_a_grpc_content_type_is_a_call() {
        use GrpcProtocol::{Grpc, GrpcWeb, GrpcWebText};
        for (text, expected) in [
            ("application/grpc", Some(Grpc)),
            ("application/grpc+proto", Some(Grpc)),
            ("application/grpc+json", Some(Grpc)),
            ("application/grpc;charset=utf-8", Some(Grpc)),
            ("application/grpc ; charset=utf-8", Some(Grpc)),
            ("application/grpc+proto;charset=utf-8", Some(Grpc)),
            ("Application/GRPC+Proto", Some(Grpc)),
            ("application/grpc ", Some(Grpc)),
            ("application/grpc-web", Some(GrpcWeb)),
            ("application/grpc-web+proto", Some(GrpcWeb)),
            ("application/gRPC-Web; a=b", Some(GrpcWeb)),
            ("application/grpc-web-text", Some(GrpcWebText)),
            ("application/grpc-web-text+proto", Some(GrpcWebText)),
            ("APPLICATION/GRPC-WEB-TEXT", Some(GrpcWebText)),
            ("application/grpcx", None),
            ("application/grpc-webx", None),
            ("application/grpc-web-textual", None),
            ("application/grpc-", None),
            ("application/grpc +proto", None),
            ("application/grpc x", None),
            ("application/json", None),
            ("application/json; a=application/grpc", None),
            ("application/grp", None),
            ("", None),
        ] {
            assert_eq!(of(Method::POST, text), expected, "{text:?}");
            assert_eq!(of(Method::GET, text), None, "{text:?}");
            assert_eq!(of(Method::OPTIONS, text), None, "{text:?}");
        }
        let bare = Request::post("/").body(()).unwrap();
        assert_eq!(GrpcProtocol::of(&bare), None);
    }

    #[test]
    fn an_answer_has_the_content_type_of_the_caller() {
        for text in [
            "application/grpc",
            "application/grpc-web",
            "application/grpc-web-text",
        ] {
            let protocol = of(Method::POST, text).unwrap();
            let response: Response<String> = protocol.trailers_only(GrpcCode::Internal, "");
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()[header::CONTENT_TYPE], text);
            assert_eq!(response.headers()["grpc-status"], "13");
            assert_eq!(response.headers().len(), 2);
            assert_eq!(response.body(), "");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        for (message, expected) in [
            ("all is well", "all is well"),
            ("100% ~ !", "100%25 ~ !"),
            ("a\nb\r\u{7f}\0", "a%0Ab%0D%7F%00"),
            ("ü☃", "%C3%BC%E2%98%83"),
        ] {
            let response: Response<()> =
                GrpcProtocol::Grpc.trailers_only(GrpcCode::Unknown, message);
            assert_eq!(response.headers()["grpc-message"], expected, "{message:?}");
        }
    }
}
