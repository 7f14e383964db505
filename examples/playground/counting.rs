//! The counters, which nobody adds to once they were handed over.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use http::StatusCode;
use serde_json::{Value, json};
use tower_ops::Ops;
use tower_ops_examples::counters::Counters;

use crate::limits::Refusal;

pub(crate) fn routes(counters: Counters, ops: &Ops) -> Router {
    let mut routes = Router::new()
        .route("/counters", get(counted))
        .route("/counters/{name}", post(add_one))
        .with_state(counters);
    if let Some(state) = ops.state() {
        routes = routes.layer(state.fence().layer());
    }
    routes
}

async fn counted(State(counters): State<Counters>) -> Json<BTreeMap<String, u64>> {
    Json(counters.all())
}

async fn add_one(
    State(counters): State<Counters>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let count = counters.add(&name).ok_or_else(|| {
        let text = "a counter's name is too long, or there are too many\n".to_owned();
        (StatusCode::BAD_REQUEST, text)
    })?;
    Ok(Json(json!({ name: count })))
}
