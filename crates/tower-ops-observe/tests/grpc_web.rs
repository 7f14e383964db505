//! gRPC-Web: the status of a call is in the head, or in the last frame of the body.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use http::{Request, Response};
use tower_ops_observe::{Class, GrpcCode, ObserveLayer, Outcome};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
#[path = "support/record.rs"]
mod record;
use record::{Ended, Recorder};

const WEB: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

fn call(content_type: &str) -> Request<()> {
    let request = Request::post("/a.B/C").header("content-type", content_type);
    request.body(()).unwrap()
}

fn response(content_type: &str, body: ScriptedBody) -> Response<ScriptedBody> {
    let response = Response::builder().header("content-type", content_type);
    response.body(body).unwrap()
}

/// A message of two bytes, and the trailers with the status, cut anywhere.
fn binary(code: &str) -> ScriptedBody {
    let line = format!("grpc-status:{code}\r\n");
    let length = u8::try_from(line.len()).unwrap();
    ScriptedBody::new()
        .data(&b"\0\0\0\0\x02ab\x80\0"[..])
        .data(vec![0, 0, length])
        .data(line)
}

async fn ended(content_type: &str, response: Response<ScriptedBody>) -> Ended {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let response = drive::answer(&layer, call(content_type), response).await;
    let _ = record::drain(&mut response.into_body());
    recorder.only()
}

#[tokio::test(start_paused = true)]
async fn the_status_in_the_body_counts() {
    for (text, code, class) in [
        ("0", GrpcCode::Ok, Class::Success),
        ("5", GrpcCode::NotFound, Class::ClientError),
        ("13", GrpcCode::Internal, Class::ServerError),
    ] {
        let ended = ended(WEB, response(WEB, binary(text))).await;
        assert!(ended.is_grpc);
        assert_eq!((ended.grpc, ended.class), (Some(code), class));
        assert_eq!(ended.outcome, Outcome::Completed);
        assert_eq!(ended.route.as_deref(), Some("a.B/C"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_in_base64_counts() {
    // The trailers `grpc-status:14\r\n`, padded, after a message padded by itself.
    let body = ScriptedBody::new()
        .data("AAAAAAJhYg==gAAA")
        .data("ABBncnBjLXN0YXR1c")
        .data("zoxNA0K");
    let ended = ended(TEXT, response(TEXT, body)).await;
    assert_eq!(ended.grpc, Some(GrpcCode::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn the_status_in_the_head_counts() {
    for content_type in [WEB, TEXT] {
        let mut response = response(content_type, ScriptedBody::new().end_stream_flag(true));
        response
            .headers_mut()
            .insert("grpc-status", "7".parse().unwrap());
        let ended = ended(content_type, response).await;
        assert_eq!(ended.grpc, Some(GrpcCode::PermissionDenied));
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_status_is_unknown() {
    let body = ScriptedBody::new().data(&b"\0\0\0\0\x02ab"[..]);
    let ended = ended(WEB, response(WEB, body)).await;
    assert_eq!(ended.grpc, Some(GrpcCode::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_dropped_after_its_announced_bytes_has_its_status() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let response = response(WEB, binary("0").exact(27));
    let mut body = drive::answer(&layer, call(WEB), response).await.into_body();
    drive::take(&mut body, 3).await;
    drop(body);
    let ended = recorder.only();
    assert_eq!(ended.outcome, Outcome::Completed, "{ended:?}");
    assert_eq!(ended.grpc, Some(GrpcCode::Ok));
}

#[tokio::test(start_paused = true)]
async fn the_body_passes_unchanged() {
    use http_body_util::BodyExt;
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let response = drive::answer(&layer, call(WEB), response(WEB, binary("3"))).await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&bytes[..], b"\0\0\0\0\x02ab\x80\0\0\0\x0fgrpc-status:3\r\n");
    assert_eq!(recorder.only().grpc, Some(GrpcCode::InvalidArgument));
}
