//! Servers for a load generator: the same route on a socket.

use std::{error::Error, pin::Pin};

use axum::Router;
use tokio::net::TcpListener;
use tower_ops::Ops;

use crate::{peers, workload::router};

/// A server: a name, and how it serves.
#[derive(Debug)]
#[non_exhaustive]
pub struct Served {
    /// What the command line calls it.
    pub name: &'static str,
    /// What the table calls it.
    pub title: &'static str,
    serve: fn(TcpListener) -> Serving,
}

type Serving = Pin<Box<dyn Future<Output = Result<(), Box<dyn Error>>>>>;

impl Served {
    const fn new(
        name: &'static str,
        title: &'static str,
        serve: fn(TcpListener) -> Serving,
    ) -> Self {
        Self { name, title, serve }
    }

    /// The server of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        SERVED.iter().find(|served| served.name == name)
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub async fn serve(&self, listener: TcpListener) -> Result<(), Box<dyn Error>> {
        (self.serve)(listener).await
    }
}

/// Every server, in the order of the table. The others are compared with the first.
pub const SERVED: &[Served] = &[
    Served::new("serve-axum", "`axum::serve`", |listener| {
        Box::pin(by_axum(listener, router()))
    }),
    Served::new(
        "serve-ours",
        "**tower-ops** `serve`, no layer",
        |listener| Box::pin(by_ops(listener, |app, _| app)),
    ),
    Served::new(
        "serve-ours-bundle",
        "**tower-ops** `serve`, bundle",
        |listener| Box::pin(by_ops(listener, |app, ops| app.layer(ops.layer()))),
    ),
    Served::new(
        "serve-prometheus",
        "`axum::serve`, axum-prometheus",
        |listener| Box::pin(async { by_axum(listener, peers::with_prometheus(router()).0).await }),
    ),
    Served::new(
        "serve-peers",
        "`axum::serve`, peers' whole stack, no subscriber",
        |listener| Box::pin(async { by_axum(listener, peers::with_all(router()).0).await }),
    ),
];

async fn by_axum(listener: TcpListener, app: Router) -> Result<(), Box<dyn Error>> {
    Ok(axum::serve(listener, app.into_make_service()).await?)
}

async fn by_ops(
    listener: TcpListener,
    layered: fn(Router, &Ops) -> Router,
) -> Result<(), Box<dyn Error>> {
    // Beside others on the same machine.
    let ops = Ops::builder("bench").ops_addr("127.0.0.1:0").build()?;
    let app = layered(router(), &ops);
    ops.serve(listener, app).await?;
    Ok(())
}
