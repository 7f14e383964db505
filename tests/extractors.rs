//! The extractors of all parts where what they extract is missing: each rejection is a type with a
//! name, answers 500, and names what to add.

use std::error::Error;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::routing::get;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tower_ops::connections::{Connection, MissingConnection};
use tower_ops::observe::{MissingRequestFacts, RequestFacts};
use tower_ops::request_id::{MissingRequestId, RequestId};
use tower_ops::requests::{MissingRequestTracker, RequestHandle};
use tower_ops::{ClientAddr, MissingClientAddr};

/// Returns what a handler answers that extracts `T`, whose rejection has to be `R`.
async fn answer<T, R>() -> (StatusCode, String)
where
    T: FromRequestParts<(), Rejection = R> + Send + 'static,
    R: Error + Copy + Eq,
{
    let app: Router = Router::new().route("/", get(async |_: T| ()));
    let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a text")
        .to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn each_rejection_names_what_to_add() {
    for ((status, text), what, add) in [
        (
            answer::<RequestHandle, MissingRequestTracker>().await,
            "no request tracker: ",
            "tracker.layer()",
        ),
        (
            answer::<RequestId, MissingRequestId>().await,
            "no request id: ",
            "RequestIdLayer",
        ),
        (
            answer::<RequestFacts, MissingRequestFacts>().await,
            "no facts of the request: ",
            "ObserveLayer",
        ),
        (
            answer::<Connection, MissingConnection>().await,
            "no connection: ",
            "connections.make_service()",
        ),
        (
            answer::<ClientAddr, MissingClientAddr>().await,
            "no client address: ",
            "trusted_proxies",
        ),
    ] {
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
        assert!(text.starts_with(what) && text.contains(add), "{text}");
        assert!(text.contains("ops."), "{text}");
    }
}
