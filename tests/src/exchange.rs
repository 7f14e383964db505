use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tower_ops_testing::{Http2Client, RawHttp1};

const DEADLINE: Duration = Duration::from_secs(10);

/// The protocol to ask with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are two")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A whole response.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What came after the body.
    pub trailers: HeaderMap,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Http1, Self::Http2];

    /// The protocol as the metrics name it.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Http1 => "1.1",
            Self::Http2 => "2",
        }
    }

    /// Sends one request on a connection of its own and reads the answer to its end.
    ///
    /// # Errors
    ///
    /// If the connection or the stream breaks first.
    pub async fn ask(
        self,
        addr: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> io::Result<Answer> {
        match self {
            Self::Http1 => http1(addr, method, path, headers, body).await,
            Self::Http2 => timeout(DEADLINE, http2(addr, method, path, headers, body))
                .await
                .unwrap_or_else(|_| panic!("{method} {path}: no answer within {DEADLINE:?}")),
        }
    }
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header's text, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

async fn http1(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> io::Result<Answer> {
    let mut client = RawHttp1::connect(addr).await?;
    client.send_request(method, path, headers, body).await?;
    let head = client.read_head().await?;
    let mut answer = Answer {
        status: head.status.as_u16(),
        headers: head.headers.clone(),
        body: Bytes::new(),
        trailers: HeaderMap::new(),
    };
    if method != "HEAD" && answer.status != 101 {
        let body = client.read_body(&head).await?;
        (answer.body, answer.trailers) = (body.data, body.trailers);
    }
    Ok(answer)
}

async fn http2(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> io::Result<Answer> {
    let client = Http2Client::connect(addr).await?;
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    let request = request.body(Full::from(body)).unwrap();
    let response = client.request(request).await.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
    })
}
