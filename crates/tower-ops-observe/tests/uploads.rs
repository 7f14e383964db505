//! What comes of a request's body, over real sockets: how much is counted, and whose fault it is
//! when it breaks off.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio_stream::StreamExt;
use tower_ops_observe::{Class, ObserveLayer};
use tower_ops_testing::{Http2Client, RawHttp1, RawHttp2, Server, frame};

#[path = "support/record.rs"]
mod record;
use record::{Ended, Recorder};

/// Reads by hand, and blames itself for an error.
async fn strict(request: Request) -> Response {
    match request.into_body().collect().await {
        Ok(body) => body.to_bytes().len().to_string().into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers at once, with a stream that reads the request as it goes.
async fn echo(request: Request) -> Response {
    request.into_body().into_response()
}

/// Reads the first chunk, and answers well whatever comes then.
async fn lenient(request: Request) -> &'static str {
    let _ = request.into_body().collect().await;
    "fine"
}

/// Reads, and answers well with a head alone, which needs no transport to be complete.
async fn acknowledging(request: Request) -> StatusCode {
    let _ = request.into_body().collect().await;
    StatusCode::NO_CONTENT
}

async fn serve(recorder: &Recorder) -> Server {
    let app = Router::new()
        .route("/strict", any(strict))
        .route("/echo", any(echo))
        .route("/lenient", any(lenient))
        .route("/acknowledging", any(acknowledging))
        .route("/bytes", any(async |body: Bytes| body.len().to_string()))
        .route("/ignore", any(async || "not read"))
        .route(
            "/limited",
            post(async |body: Bytes| body.len().to_string()).layer(DefaultBodyLimit::max(4)),
        )
        .layer(ObserveLayer::new(recorder.clone()));
    Server::spawn(app).await
}

const READERS: [&str; 5] = ["/strict", "/lenient", "/bytes", "/echo", "/acknowledging"];

/// How a client breaks off an upload over HTTP/1.
#[derive(Clone, Copy, Debug)]
enum Break {
    Close,
    HalfClose,
    Reset,
    /// A size of a chunk that is none.
    Chunk,
    /// A FIN within a chunk.
    WithinChunk,
}

async fn http1(path: &str, how: Break) -> Ended {
    let recorder = Recorder::new();
    let server = serve(&recorder).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    let head = match how {
        Break::Chunk | Break::WithinChunk => "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        _ => "content-length: 100\r\n\r\nhalf",
    };
    let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{head}");
    client.send(request).await.unwrap();
    // The handler shall have it before the break.
    tokio::time::sleep(Duration::from_millis(50)).await;
    match how {
        Break::Close => drop(client),
        Break::Reset => client.reset(),
        Break::HalfClose => {
            client.half_close().await.unwrap();
            return recorder.ended().await;
        }
        Break::Chunk => {
            client.send("zz\r\n").await.unwrap();
            return recorder.ended().await;
        }
        Break::WithinChunk => {
            client.send("9\r\nhal").await.unwrap();
            drop(client);
        }
    }
    recorder.ended().await
}

#[tokio::test]
async fn a_client_that_breaks_its_upload_off_over_http1_has_cancelled() {
    use Break::{Chunk, Close, HalfClose, Reset, WithinChunk};
    for path in READERS {
        for how in [Close, HalfClose, Reset, Chunk, WithinChunk] {
            let ended = http1(path, how).await;
            assert_eq!(ended.class, Class::Cancelled, "{path}, {how:?}: {ended:?}");
        }
    }
}

/// One chunk, and then no end.
fn half() -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let first = tokio_stream::once(Ok(Frame::data(Bytes::from_static(b"half"))));
    StreamBody::new(first.chain(tokio_stream::pending()))
}

async fn http2(path: &str, whole_connection: bool) -> Ended {
    let recorder = Recorder::new();
    let server = serve(&recorder).await;
    let client = Http2Client::connect(server.addr()).await.unwrap();
    let request = http::Request::post(path).body(half()).unwrap();
    let sending = tokio::time::timeout(Duration::from_millis(100), client.request(request));
    let response = sending.await;
    if whole_connection {
        drop(client);
        drop(response);
    } else {
        drop(response);
        let ended = recorder.ended().await;
        drop(client);
        return ended;
    }
    recorder.ended().await
}

#[tokio::test]
async fn a_client_that_breaks_its_upload_off_over_http2_has_cancelled() {
    for path in READERS {
        for whole_connection in [false, true] {
            if path == "/echo" && !whole_connection {
                // It has its response, and hyper's client resets no stream that it
                // still sends on.
                continue;
            }
            let ended = http2(path, whole_connection).await;
            assert_eq!(
                ended.class,
                Class::Cancelled,
                "{path}, {whole_connection}: {ended:?}"
            );
        }
    }
}

/// hyper takes these resets for the end of the body, as if all of it had come.
#[tokio::test]
async fn an_upload_that_is_reset_without_an_error_has_cancelled() {
    const NO_ERROR: u32 = 0;
    const CANCEL: u32 = 8;
    for path in ["/strict", "/lenient", "/bytes", "/acknowledging"] {
        for code in [NO_ERROR, CANCEL] {
            let recorder = Recorder::new();
            let server = serve(&recorder).await;
            let mut client = RawHttp2::connect(server.addr(), &[]).await.unwrap();
            // POST, http, the path, the authority `x`, and a Content-Length of 100.
            let mut head = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
            head.extend(path.as_bytes());
            head.extend([0x01, 1, b'x', 0x0f, 0x0d, 3, b'1', b'0', b'0']);
            let send = client.send(frame::HEADERS, frame::END_HEADERS, 1, &head);
            send.await.unwrap();
            client.send(frame::DATA, 0, 1, b"half").await.unwrap();
            let code_bytes = code.to_be_bytes();
            let reset = client.send(frame::RST_STREAM, 0, 1, &code_bytes);
            reset.await.unwrap();
            let ended = recorder.ended().await;
            assert_eq!(ended.class, Class::Cancelled, "{path}, {code}: {ended:?}");
        }
    }
}

/// A whole request over HTTP/1, in the client's own words.
async fn raw(request: String) -> (u16, Ended) {
    let recorder = Recorder::new();
    let server = serve(&recorder).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    client.send(request).await.unwrap();
    let head = client.read_head().await.unwrap();
    (head.status.as_u16(), recorder.ended().await)
}

#[tokio::test]
async fn a_limit_of_the_service_is_no_break() {
    for rest in [
        "content-length: 9\r\n\r\nnine bytes",
        "transfer-encoding: chunked\r\n\r\n9\r\nninebytes\r\n0\r\n\r\n",
    ] {
        let (status, ended) = raw(format!("POST /limited HTTP/1.1\r\nhost: a\r\n{rest}")).await;
        assert_eq!(status, 413);
        assert_eq!(ended.class, Class::ClientError);
    }
}

#[tokio::test]
async fn only_bytes_that_came_are_counted() {
    const HUGE: &str = "content-length: 1000000000000000000\r\n\r\n";
    for (start, rest, bytes) in [
        ("GET /ignore", HUGE, Some(0)),
        ("HEAD /ignore", HUGE, Some(0)),
        ("POST /ignore", HUGE, Some(0)),
        ("DELETE /ignore", HUGE, Some(0)),
        ("POST /nowhere", HUGE, Some(0)),
        ("POST /limited", "content-length: 4\r\n\r\nfour", Some(4)),
        ("GET /bytes", "content-length: 4\r\n\r\nfour", Some(4)),
        (
            "POST /bytes",
            "transfer-encoding: chunked\r\n\r\n4\r\nfour\r\n2\r\n!!\r\n0\r\n\r\n",
            Some(6),
        ),
        ("POST /bytes", "content-length: 0\r\n\r\n", None),
        ("POST /bytes", "\r\n", None),
        ("GET /bytes", "\r\n", None),
    ] {
        let (_, ended) = raw(format!("{start} HTTP/1.1\r\nhost: a\r\n{rest}")).await;
        assert_eq!(ended.request_bytes, bytes, "{start} {rest}");
    }
}

#[tokio::test]
async fn only_bytes_that_came_are_counted_over_http2_too() {
    for (path, bytes) in [("/bytes", 4), ("/ignore", 0), ("/nowhere", 0)] {
        let recorder = Recorder::new();
        let server = serve(&recorder).await;
        let client = Http2Client::connect(server.addr()).await.unwrap();
        let body = Full::new(Bytes::from_static(b"four"));
        let response = client.request(http::Request::post(path).body(body).unwrap());
        response.await.unwrap().collect().await.unwrap();
        assert_eq!(recorder.ended().await.request_bytes, Some(bytes), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_is_read_before_it_breaks_counts_for_what_came() {
    let ended = http1("/strict", Break::Close).await;
    assert_eq!(ended.request_bytes, Some(4));
    let ended = http2("/strict", true).await;
    assert_eq!(ended.request_bytes, Some(4));
}

#[tokio::test]
async fn a_type_that_cannot_be_counted_has_no_size() {
    use tower::ServiceBuilder;
    let recorder = Recorder::new();
    let app = Router::new().route("/bytes", post(async |body: Bytes| body.len().to_string()));
    let service = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(ObserveLayer::new(recorder.clone()))
        .service(app);
    // hyper's `Incoming` reaches the layer.
    let server = Server::spawn(service).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    client
        .send_request("POST", "/bytes", &[], "four")
        .await
        .unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 200);
    assert_eq!(recorder.ended().await.request_bytes, None);
}
