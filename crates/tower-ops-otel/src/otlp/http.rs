use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::connect::Connector;
use super::{Again, Failure};
use crate::settings::OtlpSettings;

/// A collector's answer is a few bytes; what is longer is not one.
const MAX_ANSWER: usize = 64 * 1024;

/// OTLP over HTTP/1.1, with protobuf.
#[derive(Debug)]
pub(super) struct HttpTransport {
    client: Client<Connector, Full<Bytes>>,
    settings: OtlpSettings,
    headers: HeaderMap,
}

impl HttpTransport {
    pub(super) fn new(settings: OtlpSettings, connector: Connector) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        headers.extend(settings.headers.clone());
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        if settings.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            settings,
            headers,
        }
    }

    pub(super) async fn send(&self, body: Bytes) -> Result<Bytes, Failure> {
        let body = if self.settings.gzip {
            gzip(&body).map_err(|error| Failure::new(error.to_string(), Again::Never))?
        } else {
            body
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.request(request).await;
        let (head, body) = answer
            .map_err(|error| Failure::transport(&error))?
            .into_parts();
        if !head.status.is_success() {
            return Err(refused(head.status, &head.headers));
        }
        // It has the batch: what its answer looks like changes nothing about that.
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        Ok(body.map_or_else(|_| Bytes::new(), |body| body.to_bytes()))
    }
}

fn refused(status: StatusCode, headers: &HeaderMap) -> Failure {
    let after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs);
    let again = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Again::After(after),
        _ => Again::Never,
    };
    Failure::new(format!("the collector answers {status}"), again)
}

fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}
