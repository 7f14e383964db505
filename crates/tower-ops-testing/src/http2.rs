use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::tasks::Tasks;

type RequestBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// Speaks HTTP/2 with prior knowledge over one connection, which its clones share.
///
/// Dropping a response, or the future of one, resets its stream; other streams go on. Dropping
/// the last clone aborts the connection, and the bodies still being read fail.
///
/// It has no deadline: wrap what may hang in `tokio::time::timeout`.
#[derive(Clone, Debug)]
pub struct Http2Client {
    authority: Authority,
    sender: SendRequest<RequestBody>,
    _tasks: Arc<Tasks>,
}

impl Http2Client {
    /// Connects and starts HTTP/2, without waiting for the server's settings.
    ///
    /// # Errors
    ///
    /// If the connection is refused or breaks.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let tasks = Tasks::new();
        let (sender, connection) = handshake(tasks.spawner(), TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tasks.spawner().execute(connection);
        Ok(Self {
            authority: addr
                .to_string()
                .parse()
                .expect("a socket address is an authority"),
            sender,
            _tasks: Arc::new(tasks),
        })
    }

    /// Sends a GET for a path, which starts with a slash.
    ///
    /// # Errors
    ///
    /// If the stream or the connection fails before the response's head.
    ///
    /// # Panics
    ///
    /// If the path is not one.
    pub async fn get(&self, path: &str) -> hyper::Result<Response<Incoming>> {
        let request = Request::get(path).body(Empty::new()).expect("a valid path");
        self.request(request).await
    }

    /// Sends a request; scheme and authority are filled in where its URI lacks them.
    ///
    /// # Errors
    ///
    /// If the stream or the connection fails before the response's head.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream, if it was polled at all.
    pub async fn request<B>(&self, request: Request<B>) -> hyper::Result<Response<Incoming>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        *request.uri_mut() = self.absolute(request.uri());
        self.sender.clone().send_request(request).await
    }

    fn absolute(&self, uri: &Uri) -> Uri {
        let mut parts = uri.clone().into_parts();
        parts.scheme.get_or_insert(Scheme::HTTP);
        parts
            .authority
            .get_or_insert_with(|| self.authority.clone());
        parts
            .path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
        Uri::from_parts(parts).expect("a URI with all its parts")
    }
}
