//! A service that logs whatever its clients send, over sockets.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use tower::{ServiceBuilder, service_fn};
use tower_ops_logs::{Format, Logs, LogsBuilder, MAX_LINE};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer};
use tower_ops_testing::{RawHttp1, Server};

use super::sink::{Log, json};

/// Takes any header for the request id, as a careless observer would.
struct AnyId;

impl Observe for AnyId {
    type Exchange = ();

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) {
        if let Some(id) = request.headers().get("x-request-id") {
            facts.set_request_id(id.clone());
        }
    }

    fn on_end(&self, _: &mut (), _: &Ending<'_>, facts: &Facts) {
        let id = facts.request_id().map(http::HeaderValue::as_bytes);
        tracing::info!(target: "tower_ops::access", request_id = id, "request");
    }
}

async fn handler(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let span = tracing::info_span!("handler", uri = %parts.uri, headers = ?parts.headers);
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    span.in_scope(|| {
        for (name, value) in &parts.headers {
            tracing::info!(name = name.as_str(), value = value.as_bytes(), "header");
        }
        let text = String::from_utf8_lossy(&body);
        tracing::info!(method = %parts.method, query = parts.uri.query(), body = &*body, "{text}");
    });
    Ok(Response::new(Empty::new()))
}

async fn lines_of(builder: LogsBuilder) -> Vec<String> {
    let log = Log::new(builder.queue(64 << 20));
    let service = ServiceBuilder::new()
        .layer(ObserveLayer::new(AnyId))
        .service(service_fn(handler));
    let server = Server::spawn(service).await;
    let mut answered = 0;
    let large = "x".repeat(60_000);
    for hostile in [
        &b"plain"[..],
        b"\"}{\"level\":\"ERROR\"",
        b"\\u000a\\",
        b"\xc2\x9b31m\xe2\x80\xae\xe2\x80\xa8",
        b"\xff\xfe\xc0\xaf",
        b"a b\tc=d level=ERROR",
        large.as_bytes(),
    ] {
        let mut client = RawHttp1::connect(server.addr()).await.unwrap();
        let path = hostile
            .iter()
            .filter(|byte| byte.is_ascii_graphic() && **byte != b'#');
        let path: Vec<u8> = path.copied().collect();
        let body = [hostile, b"\n\r\n\0\x1b[2J", hostile].concat();
        let mut request = b"POST /?".to_vec();
        request.extend_from_slice(&path);
        request.extend_from_slice(b" HTTP/1.1\r\nhost: a\r\nx-request-id: ");
        request.extend_from_slice(hostile);
        request.extend_from_slice(format!("\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend_from_slice(&body);
        client.send(&request).await.unwrap();
        let head = client.read_head().await.unwrap();
        client.read_body(&head).await.unwrap();
        answered += usize::from(head.status == 200);
    }
    assert!(answered > 3, "{answered}");
    let lines = log.lines();
    // Three headers, what the handler logs of the rest, and the end.
    assert_eq!(lines.len(), answered * 5);
    lines
}

fn is_dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}')
}

#[tokio::test]
async fn what_a_client_sends_is_in_one_line_and_under_its_own_key() {
    for format in [Format::Json, Format::Ecs, Format::Gcp] {
        for line in lines_of(Logs::builder().format(format)).await {
            assert!(
                line.len() < MAX_LINE && !line.contains(is_dangerous),
                "{line:?}"
            );
            let json = json(&line);
            let level = ["level", "log.level", "severity"].map(|key| json[key].as_str());
            let level = level.into_iter().flatten().next().unwrap();
            assert!(level.eq_ignore_ascii_case("info"), "{line}");
        }
    }
    for line in lines_of(Logs::builder().format(Format::Text)).await {
        assert!(
            line.len() < MAX_LINE && !line.contains(is_dangerous),
            "{line:?}"
        );
        assert!(
            line.split_once("Z ").unwrap().1.starts_with(" INFO "),
            "{line}"
        );
    }
}
