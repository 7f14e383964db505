//! Short answers.

use axum::{
    Json,
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use tower_ops::request_id::{self, RequestId};
use tracing::Instrument as _;

use crate::{
    call::headers_as_json,
    limits::{Refusal, refuse, wait},
};

pub(crate) async fn user(Path(id): Path<String>) -> Json<Value> {
    tracing::debug!(user = id, "asked for a user");
    find(&id).instrument(tracing::info_span!("find_user")).await
}

async fn find(id: &str) -> Json<Value> {
    Json(json!({ "id": id }))
}

pub(crate) async fn slow(Path(ms): Path<u64>) -> Result<String, Refusal> {
    sleep(wait(ms)?).await;
    Ok(format!("waited {ms} ms\n"))
}

pub(crate) async fn block(Path(ms): Path<u64>) -> Result<String, Refusal> {
    std::thread::sleep(wait(ms)?);
    Ok(format!("blocked for {ms} ms\n"))
}

pub(crate) async fn status(Path(code): Path<String>) -> Result<Response, Refusal> {
    let status = StatusCode::from_bytes(code.as_bytes())
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or_else(|| refuse(format!("{code:?} is no final status: ask for 200 to 999\n")))?;
    Ok(match status {
        // These have no body, by definition.
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            status.into_response()
        }
        _ => (status, format!("{status}\n")).into_response(),
    })
}

pub(crate) async fn headers(headers: HeaderMap) -> Json<Value> {
    Json(headers_as_json(&headers))
}

/// That status as the final one, whatever it is: what a handler in error might answer with.
pub(crate) async fn final_status(Path(code): Path<String>) -> Result<StatusCode, Refusal> {
    StatusCode::from_bytes(code.as_bytes())
        .map_err(|_| refuse(format!("{code:?} is no status: ask for 100 to 999\n")))
}

/// The same id, from everywhere a service might look for it.
pub(crate) async fn id(extension: Option<RequestId>, headers: HeaderMap) -> Json<Value> {
    let as_json = |id: Option<RequestId>| id.map(|id| id.as_str().to_owned());
    let spawned = request_id::spawn(async { RequestId::current() }).await;
    Json(json!({
        "handler": as_json(RequestId::current()),
        "spawned": as_json(spawned.ok().flatten()),
        "header": headers.get("x-request-id").map(|id| String::from_utf8_lossy(id.as_bytes())),
        "extension": as_json(extension),
    }))
}
