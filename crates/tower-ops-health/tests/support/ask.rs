//! Asks a service, and reads the answer to its end.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test that cannot go on has to fail; not every test needs all of it"
)]

use std::convert::Infallible;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};
use tower_ops_health::{AnswerBody, Health};

pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) async fn send<S>(service: S, request: Request<()>) -> Answer
where
    S: Service<Request<()>, Response = Response<AnswerBody>, Error = Infallible>,
{
    let Ok(response) = service.oneshot(request).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        code: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.into()).unwrap(),
    }
}

/// GET, with headers.
pub(crate) async fn get_with(health: &Health, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(health.probes(), request.body(()).unwrap()).await
}

pub(crate) async fn get(health: &Health, path: &str) -> Answer {
    get_with(health, path, &[]).await
}

pub(crate) async fn code(health: &Health, path: &str) -> u16 {
    get(health, path).await.code
}
