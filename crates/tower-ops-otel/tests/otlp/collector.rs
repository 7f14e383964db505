//! Collectors that receive, or misbehave: over gRPC the services of opentelemetry-proto, over HTTP
//! a small server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// What the collector does with what it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    Take,
    /// Refuses that many of each batch.
    Reject(i64),
    /// An error that is for good.
    Fail,
    /// An error that may pass.
    Unavailable,
    Slow(Duration),
    Hang,
}

#[derive(Default)]
pub(crate) struct Received {
    pub(crate) traces: Vec<ExportTraceServiceRequest>,
    pub(crate) metrics: Vec<ExportMetricsServiceRequest>,
    pub(crate) logs: Vec<ExportLogsServiceRequest>,
    pub(crate) headers: Vec<HeaderMap>,
    pub(crate) attempts: usize,
}

impl Received {
    pub(crate) fn spans(&self) -> Vec<Span> {
        let resources = self
            .traces
            .iter()
            .flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|of| &of.scope_spans);
        scopes.flat_map(|of| &of.spans).cloned().collect()
    }
}

#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) addr: SocketAddr,
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    pub(crate) fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap()
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    async fn bind(behaviour: Behaviour) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self {
            addr: listener.local_addr().unwrap(),
            behaviour: Arc::new(Mutex::new(behaviour)),
            received: Arc::default(),
        };
        (collector, listener)
    }

    pub(crate) async fn http(behaviour: Behaviour) -> Self {
        let (collector, listener) = Self::bind(behaviour).await;
        let own = collector.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(own.clone().serve_http(stream));
            }
        });
        collector
    }

    pub(crate) async fn https(tls: tokio_rustls::TlsAcceptor) -> Self {
        let (collector, listener) = Self::bind(Behaviour::Take).await;
        let own = collector.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (own, tls) = (own.clone(), tls.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        own.serve_http(stream).await;
                    }
                });
            }
        });
        collector
    }

    async fn serve_http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = hyper::service::service_fn(move |request| {
            let own = self.clone();
            async move { Ok::<_, Infallible>(own.answer_http(request).await) }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer_http(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let mut body = body.collect().await.unwrap().to_bytes();
        if head
            .headers
            .get("content-encoding")
            .is_some_and(|encoding| encoding == "gzip")
        {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain)
                .unwrap();
            body = plain.into();
        }
        let (status, rejected) = match self.attempt(&head.headers).await {
            Ok(rejected) => (StatusCode::OK, rejected),
            Err(Code::Unavailable) => (StatusCode::SERVICE_UNAVAILABLE, 0),
            Err(_) => (StatusCode::BAD_REQUEST, 0),
        };
        let mut answer = Vec::new();
        if status == StatusCode::OK {
            assert_eq!(head.method, "POST");
            assert_eq!(head.headers["content-type"], "application/x-protobuf");
            let mut received = self.received();
            match head.uri.path() {
                "/v1/traces" => {
                    received.traces.push(Message::decode(body).unwrap());
                    answer = trace_answer(rejected).encode_to_vec();
                }
                "/v1/metrics" => received.metrics.push(Message::decode(body).unwrap()),
                "/v1/logs" => received.logs.push(Message::decode(body).unwrap()),
                other => panic!("unknown path {other}"),
            }
        }
        let mut response = Response::new(Full::new(answer.into()));
        *response.status_mut() = status;
        response
    }

    /// How many to refuse, or the error.
    async fn attempt(&self, headers: &HeaderMap) -> Result<i64, Code> {
        let behaviour = *self.behaviour.lock().unwrap();
        {
            let mut received = self.received();
            received.attempts += 1;
            received.headers.push(headers.clone());
        }
        match behaviour {
            Behaviour::Take => Ok(0),
            Behaviour::Reject(count) => Ok(count),
            Behaviour::Fail => Err(Code::InvalidArgument),
            Behaviour::Unavailable => Err(Code::Unavailable),
            Behaviour::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(0)
            }
            Behaviour::Hang => std::future::pending().await,
        }
    }

    pub(crate) async fn grpc(behaviour: Behaviour) -> Self {
        let (collector, listener) = Self::bind(behaviour).await;
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(collector.router().serve_with_incoming(incoming));
        collector
    }

    /// The other end of the first connection is gone without a word.
    pub(crate) async fn grpc_after_silence() -> Self {
        let (collector, listener) = Self::bind(Behaviour::Take).await;
        let router = collector.router();
        tokio::spawn(async move {
            let _silent = listener.accept().await.unwrap();
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            router.serve_with_incoming(incoming).await
        });
        collector
    }

    pub(crate) async fn grpcs(tls: tokio_rustls::TlsAcceptor) -> Self {
        use tokio_stream::StreamExt;
        let (collector, listener) = Self::bind(Behaviour::Take).await;
        let incoming =
            tokio_stream::wrappers::TcpListenerStream::new(listener).then(move |stream| {
                let tls = tls.clone();
                async move { tls.accept(stream?).await.map(Secure) }
            });
        tokio::spawn(collector.router().serve_with_incoming(Box::pin(incoming)));
        collector
    }

    fn router(&self) -> tonic::transport::server::Router {
        let gzip = CompressionEncoding::Gzip;
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()).accept_compressed(gzip))
            .add_service(MetricsServiceServer::new(self.clone()))
            .add_service(LogsServiceServer::new(self.clone()))
    }

    async fn attempt_grpc(&self, metadata: &MetadataMap) -> Result<i64, Status> {
        let headers = metadata.clone().into_headers();
        let result = self.attempt(&headers).await;
        result.map_err(|code| Status::new(code, "as the test wants"))
    }
}

fn trace_answer(rejected: i64) -> ExportTraceServiceResponse {
    ExportTraceServiceResponse {
        partial_success: (rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message: "too old".to_owned(),
        }),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let rejected = self.attempt_grpc(request.metadata()).await?;
        self.received().traces.push(request.into_inner());
        Ok(tonic::Response::new(trace_answer(rejected)))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.attempt_grpc(request.metadata()).await?;
        self.received().metrics.push(request.into_inner());
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.attempt_grpc(request.metadata()).await?;
        self.received().logs.push(request.into_inner());
        Ok(tonic::Response::new(Default::default()))
    }
}

/// A TLS stream, as tonic's server wants it.
pub(crate) struct Secure(tokio_rustls::server::TlsStream<tokio::net::TcpStream>);

impl tonic::transport::server::Connected for Secure {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A text attribute, or nothing.
pub(crate) fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(any_value::Value::StringValue(text)) => text,
        _ => "",
    }
}
