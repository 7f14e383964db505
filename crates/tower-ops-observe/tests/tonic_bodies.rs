//! Requests in tonic's type: counted, and cancelled if their client breaks them off.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tonic::body::Body;
use tower::{Layer, ServiceExt, service_fn};
use tower_ops_observe::{Class, GrpcCode, GrpcProtocol, ObserveLayer, Outcome};

#[path = "support/record.rs"]
mod record;
use record::{Ended, Recorder};

/// A call whose method reads its request to the end, and answers as tonic does.
async fn call(body: Body) -> Ended {
    let recorder = Recorder::new();
    let service = ObserveLayer::new(recorder.clone())
        .with_grpc_methods(["a.B/C"])
        .layer(service_fn(async |request: Request<Body>| {
            let code = match request.into_body().collect().await {
                Ok(_) => GrpcCode::Ok,
                Err(status) => GrpcCode::ALL[status.code() as usize],
            };
            let answer: Response<Body> = GrpcProtocol::Grpc.trailers_only(code, "");
            Ok::<_, Infallible>(answer)
        }));
    let request = Request::post("/a.B/C").header("content-type", "application/grpc");
    drop(service.oneshot(request.body(body).unwrap()).await);
    recorder.only()
}

fn broken(error: io::Error) -> Body {
    let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err(error)];
    Body::new(StreamBody::new(tokio_stream::iter(frames)))
}

#[tokio::test]
async fn a_request_is_counted_as_it_is_read() {
    let ended = call(Body::new(Full::new(Bytes::from_static(b"whole")))).await;
    assert_eq!(ended.request_bytes, Some(5));
    assert_eq!(
        (ended.outcome, ended.class),
        (Outcome::Completed, Class::Success)
    );
    assert_eq!(call(Body::empty()).await.request_bytes, None);
}

#[tokio::test]
async fn a_client_that_breaks_its_request_off_has_cancelled_whatever_the_method_answers() {
    let ended = call(broken(io::ErrorKind::ConnectionReset.into())).await;
    assert_eq!(ended.class, Class::Cancelled, "{ended:?}");
    assert_eq!(ended.request_bytes, Some(4));
}

#[tokio::test]
async fn an_error_of_another_kind_is_what_the_method_answers() {
    let ended = call(broken(io::Error::other("a limit"))).await;
    assert_eq!(ended.outcome, Outcome::Completed);
    assert_eq!(ended.class, Class::ServerError);
}
