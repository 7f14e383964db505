//! A call to itself.

use std::{
    collections::HashMap,
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::{ServiceBuilder, ServiceExt};
use tower_ops::otel::{SpanTracer, Telemetry};
use tower_ops::request_id::RequestIdClientLayer;
use tower_ops::trace::{ClientSpans, ClientTraceLayer};

use crate::limits::{Refusal, refuse};

/// How long `/call` waits for the callee.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the callee's body `/call` reads, so that a short one ends well.
const CALL_BODY: usize = 64 * 1024;
/// How long `/call` reads the callee's body.
const CALL_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// On a request: asks for its headers as they arrived. On the response: these, as JSON.
const SEEN_HEADERS: HeaderName = HeaderName::from_static("x-playground-seen-headers");

/// `own` is where `/call` finds this service.
pub(crate) fn routes(own: SocketAddr, telemetry: &Telemetry) -> Router {
    let caller = Caller {
        trace: ClientSpans::new()
            .with_tracer(telemetry.tracer())
            .into_layer(),
        client: Client::builder(TokioExecutor::new()).build_http(),
        address: reachable(own),
    };
    Router::new().route("/call", get(call)).with_state(caller)
}

/// Calls this very service.
#[derive(Clone)]
struct Caller {
    client: Client<HttpConnector, Body>,
    address: SocketAddr,
    trace: ClientTraceLayer<SpanTracer>,
}

async fn call(
    State(caller): State<Caller>,
    Query(mut query): Query<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let to = query.remove("to").unwrap_or_else(|| "/headers".to_owned());
    let request = caller.request(&to)?;
    // Sets x-request-id to the id of the request that is being answered, and makes the call a child
    // of its span.
    let client = ServiceBuilder::new()
        .layer(RequestIdClientLayer::new())
        .layer(caller.trace)
        .service(caller.client);

    let mut response = match timeout(CALL_TIMEOUT, client.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let error = json!({ "error": format!("{to}: {}", with_causes(&error)) });
            return Ok((StatusCode::BAD_GATEWAY, Json(error)).into_response());
        }
        Err(_) => {
            let error = json!({ "error": format!("{to}: no answer in {CALL_TIMEOUT:?}") });
            return Ok((StatusCode::GATEWAY_TIMEOUT, Json(error)).into_response());
        }
    };
    let seen = response
        .headers_mut()
        .remove(SEEN_HEADERS)
        .and_then(|seen| serde_json::from_slice::<Value>(seen.as_bytes()).ok());
    // A body read to its end keeps the connection; one that is long, endless or broken is dropped.
    let body = Limited::new(response.into_body(), CALL_BODY).collect();
    let _ = timeout(CALL_BODY_TIMEOUT, body).await;
    Ok(match seen {
        Some(seen) => Json(seen).into_response(),
        None => {
            let error = json!({ "error": format!("{to}: the callee did not return its headers") });
            (StatusCode::BAD_GATEWAY, Json(error)).into_response()
        }
    })
}

impl Caller {
    /// A request to this service, whatever is in `to`: only the path and the query are taken.
    fn request(&self, to: &str) -> Result<Request, Refusal> {
        if !to.starts_with('/') {
            return Err(refuse(format!("to={to:?} has to begin with /\n")));
        }
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.address.to_string())
            .path_and_query(to)
            .build()
            .map_err(|error| refuse(format!("to={to:?} is no path: {error}\n")))?;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        request
            .headers_mut()
            .insert(SEEN_HEADERS, HeaderValue::from_static("please"));
        Ok(request)
    }
}

/// Answers [`SEEN_HEADERS`] for every route, so that `/call` works with any of them.
///
/// The answer is as long as the request's own headers, which hyper limits.
pub(crate) async fn report_seen_headers(mut request: Request, next: Next) -> Response {
    if request.headers_mut().remove(SEEN_HEADERS).is_none() {
        return next.run(request).await;
    }
    let seen = headers_as_json(request.headers()).to_string();
    let mut response = next.run(request).await;
    if let Ok(seen) = HeaderValue::try_from(seen) {
        response.headers_mut().insert(SEEN_HEADERS, seen);
    }
    response
}

/// A header given twice has its values joined by a comma.
pub(crate) fn headers_as_json(headers: &HeaderMap) -> Value {
    headers
        .keys()
        .map(|name| {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            (name.as_str().to_owned(), Value::from(values.join(", ")))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A server that listens everywhere calls itself over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// An error and what caused it, on one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
