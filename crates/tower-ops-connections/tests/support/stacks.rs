//! The same service on each of the four stacks.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{ConnectInfo, Path, WebSocketUpgrade};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower_ops_connections::{Acceptor, Connection, Connections};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    Own,
    Axum,
    Tonic,
    ByHand,
}

impl Stack {
    pub(crate) const ALL: [Self; 4] = [Self::Own, Self::Axum, Self::Tonic, Self::ByHand];

    /// Serves [`app`], until the handle is aborted.
    pub(crate) async fn serve(self, connections: &Connections) -> (SocketAddr, JoinHandle<()>) {
        self.serve_app(connections, app()).await
    }

    /// Serves any other.
    pub(crate) async fn serve_app(
        self,
        connections: &Connections,
        app: Router,
    ) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = connections.clone();
        let task = tokio::spawn(async move {
            match self {
                Self::Own => {
                    let never = std::future::pending();
                    let server = connections.server().extended_connect(true);
                    let _ = server.serve(listener, app, never).await;
                }
                Self::Axum => {
                    let app = app.into_make_service_with_connect_info::<SocketAddr>();
                    let make = connections.make_service(app);
                    axum::serve(connections.listener(listener), make)
                        .await
                        .unwrap();
                }
                Self::Tonic => {
                    tonic::transport::Server::builder()
                        .accept_http1(true)
                        .layer(connections.layer())
                        .add_routes(Routes::from(app))
                        .serve_with_incoming(connections.incoming(listener))
                        .await
                        .unwrap();
                }
                Self::ByHand => by_hand(connections, listener, app).await,
            }
        });
        (addr, task)
    }

    /// Whether it serves WebSockets: tonic's server upgrades nothing.
    #[allow(dead_code, reason = "not every test upgrades")]
    pub(crate) fn upgrades(self) -> bool {
        self != Self::Tonic
    }
}

async fn by_hand(connections: Connections, listener: TcpListener, app: Router) {
    let mut acceptor = Acceptor::new(listener);
    loop {
        let Ok(io) = connections.accept_from(&mut acceptor).await else {
            continue;
        };
        let service = TowerToHyperService::new(io.connection().service(app.clone()));
        tokio::spawn(async move {
            let mut http = auto::Builder::new(TokioExecutor::new());
            http.http2().enable_connect_protocol();
            let serving = http.serve_connection_with_upgrades(TokioIo::new(io), service);
            let _ = serving.await;
        });
    }
}

pub(crate) fn app() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/peer", get(peer))
        .route("/slow/{ms}", get(slow))
        .route("/drip/{ms}", get(drip))
        .route("/big", get(big))
        .route("/late", post(late))
        .route("/read", post(async |body: Bytes| body.len().to_string()))
        .route("/ws", any(async |ws: WebSocketUpgrade| ws.on_upgrade(echo)))
}

/// Who the frameworks, and who the connection say that the peer is.
async fn peer(connection: Connection, request: axum::extract::Request) -> String {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let tonic = request.extensions().get::<TcpConnectInfo>();
    let told = tonic.and_then(TcpConnectInfo::remote_addr);
    let told = told.or_else(|| info.map(|info| info.0));
    let told = told.map_or_else(|| "nobody".into(), |addr| addr.to_string());
    format!("{told} {} {}", connection.peer(), connection.exchanges())
}

async fn slow(Path(ms): Path<u64>) -> &'static str {
    sleep(Duration::from_millis(ms)).await;
    "waited"
}

/// Answers at once, and reads the request's body to its end in a task.
async fn late(body: Body) -> &'static str {
    tokio::spawn(async move {
        let mut data = body.into_data_stream();
        while let Some(Ok(_)) = data.next().await {}
    });
    "accepted"
}

/// The head at once, and the body later.
async fn drip(Path(ms): Path<u64>) -> Body {
    Body::from_stream(stream::once(async move {
        sleep(Duration::from_millis(ms)).await;
        Ok::<_, Infallible>(Bytes::from_static(b"dripped"))
    }))
}

/// More than any socket buffers, in pieces.
async fn big() -> Body {
    let pieces = stream::unfold(0, async |sent| {
        let piece = Bytes::from_static(&[b'.'; 16 * 1024]);
        (sent < 4_096).then_some((Ok::<_, Infallible>(piece), sent + 1))
    });
    Body::from_stream(pieces)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(_) = message
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}
