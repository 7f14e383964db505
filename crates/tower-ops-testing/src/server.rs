use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use crate::tasks::{Spawner, Tasks};

/// Serves a tower service on a free port of 127.0.0.1, over HTTP/1 and HTTP/2, with upgrades.
///
/// Dropping it aborts the accept loop, all connections and all HTTP/2 streams. What a service
/// spawned by itself, such as the task of an upgraded connection, goes on.
///
/// # Examples
///
/// ```
/// # use std::convert::Infallible;
/// # use http::{Request, Response};
/// # use hyper::body::Incoming;
/// # use tower_ops_testing::{Http2Client, Readied, ScriptedBody, Server};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::spawn(Readied::from_fn(|_: Request<Incoming>| async {
///     Ok::<_, Infallible>(Response::new(ScriptedBody::new()))
/// }))
/// .await;
/// let client = Http2Client::connect(server.addr()).await?;
/// assert_eq!(client.get("/").await?.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    _tasks: Tasks,
}

impl Server {
    /// Binds a free port and starts to serve.
    ///
    /// # Panics
    ///
    /// If no port can be bound.
    pub async fn spawn<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("bind a free port on 127.0.0.1");
        let addr = listener.local_addr().expect("the bound address");
        let tasks = Tasks::new();
        let spawner = tasks.spawner();
        tasks
            .spawner()
            .execute(accept_all(listener, service, spawner));
        Self {
            addr,
            _tasks: tasks,
        }
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the URL of a path, which starts with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

async fn accept_all<S, B>(listener: TcpListener, service: S, spawner: Spawner)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        let stream = accept(&listener).await;
        let service = TowerToHyperService::new(service.clone());
        let builder = auto::Builder::new(spawner.clone());
        spawner.execute(async move {
            // A client that breaks off is what many tests are about; they look at the service.
            let _ = builder
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await.and_then(without_delay) {
            Ok(stream) => return stream,
            // A reset before the accept, or no descriptor left; the latter needs a pause.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn without_delay((stream, _): (TcpStream, SocketAddr)) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}
