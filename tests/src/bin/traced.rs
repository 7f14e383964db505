//! Three services that call each other, with telemetry and JSON logs, for tests of what a collector
//! gets of one request:
//!
//! ```text
//! traced orders ADDR   axum; calls playground.Echo at ADDR
//! traced echo ADDR     tonic; calls stock at ADDR
//! traced stock ADDR    hyper; calls ADDR, which is not one of these
//! ```
//!
//! It listens on a free port, which it prints, and ends by SIGTERM. The telemetry is set by `OTEL_*`.

use std::convert::Infallible;
use std::env;
use std::error::Error;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use http::uri::Authority;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_ops_examples::echo::Playground;
use tower_ops_examples::playground::echo_client::EchoClient;
use tower_ops_examples::playground::echo_server::{Echo, EchoServer};
use tower_ops_examples::playground::{
    EchoReply, EchoRequest, FailRequest, SleepRequest, StreamRequest,
};
use tower_ops_logs::{Format, Logs};
use tower_ops_observe::{ObserveLayer, ObserveService, RouteHook};
use tower_ops_otel::{SpanTracer, Telemetry};
use tower_ops_request_id::RequestIds;
use tower_ops_testing::Server;
use tower_ops_trace::{AccessLog, ClientSpans, ClientTraceLayer, Spans};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(role), Some(next)) = (args.next(), args.next()) else {
        return Err("which service, and where is the next one?".into());
    };
    let next: Authority = next.parse()?;
    let telemetry = Telemetry::builder(&role, "1.0.0").start()?;
    let logs = Logs::builder().format(Format::Json).build()?;
    tracing_subscriber::registry()
        .with(logs.layer())
        .with(telemetry.layer())
        .try_init()?;
    let _flushed_at_the_end = logs.activate();
    telemetry.check();

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = serve(&role, &telemetry, next) => served?,
        _ = terminate.recv() => {}
    }
    telemetry.shutdown().await;
    Ok(())
}

async fn serve(role: &str, telemetry: &Telemetry, next: Authority) -> Result<(), Box<dyn Error>> {
    let server = server(telemetry);
    let client = ClientSpans::new()
        .with_tracer(telemetry.tracer())
        .with_server(next.clone())
        .into_layer();
    match role {
        "orders" => {
            let channel = Channel::from_shared(format!("http://{next}"))?.connect_lazy();
            let app = Router::new()
                .route("/orders/{id}", get(order))
                .route("/fail/{code}", get(fail))
                .with_state(EchoClient::new(client.layer(channel)))
                .layer(server);
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            eprintln!("listening on {}", listener.local_addr()?);
            axum::serve(listener, app).await?;
        }
        "echo" => {
            let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
            eprintln!("listening on {}", incoming.local_addr()?);
            tonic::transport::Server::builder()
                .layer(server)
                .add_service(EchoServer::new(Asking(Next::new(&client, next))))
                .serve_with_incoming(incoming)
                .await?;
        }
        "stock" => {
            let next = Next::new(&client, next);
            let service = ServiceBuilder::new()
                .layer(server)
                .layer(RouteHook::named("/stock/{id}"))
                .service_fn(move |request| stock(next.clone(), request));
            let server = Server::spawn(service).await;
            eprintln!("listening on {}", server.addr());
            std::future::pending().await
        }
        other => return Err(format!("{other}: orders, echo or stock?").into()),
    }
    Ok(())
}

fn server(telemetry: &Telemetry) -> ObserveLayer<(RequestIds, Spans<SpanTracer>)> {
    let spans = Spans::new()
        .with_sampling(telemetry.sampling())
        .with_tracer(telemetry.tracer())
        .with_access_log(AccessLog::new());
    ObserveLayer::new((RequestIds::new(), spans))
}

type Echoes = EchoClient<ObserveService<Channel, ClientSpans<SpanTracer>>>;

async fn order(State(mut echo): State<Echoes>, Path(id): Path<String>) -> (StatusCode, String) {
    tracing::info!("ordered");
    let call = async {
        tracing::info!("asks");
        let message = EchoRequest { message: id };
        match echo.unary(message).await {
            Ok(reply) => (StatusCode::OK, reply.into_inner().message),
            Err(status) => (StatusCode::BAD_GATEWAY, status.to_string()),
        }
    };
    call.instrument(tracing::info_span!("check", step = "stock"))
        .await
}

/// Reads a stream that fails, to its end.
async fn fail(State(mut echo): State<Echoes>, Path(code): Path<i32>) -> (StatusCode, String) {
    let request = FailRequest {
        messages: 2,
        code,
        message: "as asked".to_owned(),
    };
    let result = async {
        let mut replies = echo.fail(request).await?.into_inner();
        while replies.message().await?.is_some() {
            tracing::info!("read");
        }
        Ok::<_, Status>(())
    };
    match result.await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(status) => (StatusCode::BAD_GATEWAY, status.message().to_owned()),
    }
}

/// As the playground's, but what it answers comes from the next service.
struct Asking(Next);

#[tonic::async_trait]
impl Echo for Asking {
    async fn unary(
        &self,
        request: tonic::Request<EchoRequest>,
    ) -> Result<tonic::Response<EchoReply>, Status> {
        tracing::info!("called");
        let (status, message) = self.0.ask(&request.into_inner().message).await;
        if status.is_success() {
            Ok(tonic::Response::new(EchoReply { message }))
        } else {
            Err(Status::unavailable(message))
        }
    }

    type FailStream = BoxStream<'static, Result<EchoReply, Status>>;

    async fn fail(
        &self,
        request: tonic::Request<FailRequest>,
    ) -> Result<tonic::Response<Self::FailStream>, Status> {
        let replies = Playground.fail(request).await?;
        // While the body is sent, long after this has returned.
        Ok(replies.map(|replies| replies.inspect(|_| tracing::info!("replies")).boxed()))
    }

    type ServerStreamStream = BoxStream<'static, Result<EchoReply, Status>>;

    async fn server_stream(
        &self,
        request: tonic::Request<StreamRequest>,
    ) -> Result<tonic::Response<Self::ServerStreamStream>, Status> {
        Playground.server_stream(request).await
    }

    async fn sleep(
        &self,
        request: tonic::Request<SleepRequest>,
    ) -> Result<tonic::Response<EchoReply>, Status> {
        Playground.sleep(request).await
    }

    async fn panic(
        &self,
        request: tonic::Request<EchoRequest>,
    ) -> Result<tonic::Response<EchoReply>, Status> {
        Playground.panic(request).await
    }
}

async fn stock(
    next: Next,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    tracing::info!("looked up");
    let id = request.uri().path().trim_start_matches("/stock/");
    let (status, text) = next.ask(id).await;
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

/// The service that comes next, if it speaks HTTP.
#[derive(Clone)]
struct Next {
    client: ObserveService<Client<HttpConnector, Empty<Bytes>>, ClientSpans<SpanTracer>>,
    authority: Authority,
}

impl Next {
    fn new(layer: &ClientTraceLayer<SpanTracer>, authority: Authority) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            client: layer.layer(client),
            authority,
        }
    }

    async fn ask(&self, id: &str) -> (StatusCode, String) {
        // The query is nobody's business.
        let uri = format!("http://{}/stock/{id}?token=secret", self.authority);
        let request = Request::get(uri).body(Empty::new());
        let asked = async {
            let response = self.client.clone().oneshot(request?).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, Box<dyn Error + Send + Sync>>((status, String::from_utf8(body.into())?))
        };
        asked
            .await
            .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()))
    }
}
