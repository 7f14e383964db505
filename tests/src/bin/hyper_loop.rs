//! One axum application on an accept loop of hyper-util's, with its connections
//! tracked or not, so that the difference is what tracking costs:
//!
//! ```text
//! hyper_loop bare | tracked | server
//! hyper_loop connect 10000
//! ```
//!
//! The last one is a client: it opens so many connections, asks once on each, says
//! that it has, and keeps them.

use std::convert::Infallible;
use std::env;
use std::error::Error;

use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tower_ops_connections::Connections;

// One thread: the instructions of a run are the same each time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let mut args = env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    if mode == "connect" {
        return connect(&addr, args.next().unwrap_or_default().parse()?).await;
    }
    let listener = TcpListener::bind(addr).await?;
    let app = Router::new().route("/", get(async || "hello\n"));
    let mut terminate = signal(SignalKind::terminate())?;
    let serve = async {
        match &*mode {
            "bare" => bare(listener, app).await,
            "tracked" => tracked(listener, app).await,
            "server" => {
                let never = std::future::pending();
                let connections = unlimited();
                let _ = connections.server().serve(listener, app, never).await;
                Ok(())
            }
            _ => Err("bare, tracked, server or connect?".into()),
        }
    };
    tokio::select! {
        served = serve => served,
        _ = terminate.recv() => Ok(()),
    }
}

/// As many connections as the system gives: what it costs to be out of descriptors is measured,
/// too.
fn unlimited() -> Connections {
    let builder = Connections::builder().max_connections(None);
    builder.build().expect("a valid setting")
}

async fn bare(listener: TcpListener, app: Router) -> Result<(), Box<dyn Error>> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new());
            let _ = http
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
            Ok::<_, Infallible>(())
        });
    }
}

async fn tracked(listener: TcpListener, app: Router) -> Result<(), Box<dyn Error>> {
    let connections = unlimited();
    loop {
        let room = connections.room().await;
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let io = room.accept(stream, peer)?;
        let service = TowerToHyperService::new(io.connection().service(app.clone()));
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new());
            let _ = http
                .serve_connection_with_upgrades(TokioIo::new(io), service)
                .await;
            Ok::<_, Infallible>(())
        });
    }
}

async fn connect(addr: &str, count: usize) -> Result<(), Box<dyn Error>> {
    let mut kept = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(addr).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err("the server hung up".into());
            }
        }
        kept.push(stream);
    }
    eprintln!("connected");
    std::future::pending().await
}
