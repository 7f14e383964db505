//! One HTTP/1 connection on an accept loop of hyper-util's, with and without tracking: what tracking
//! connections costs a request.
//!
//! The connection is a pipe in memory, and one thread is client and server by turns, so that the counts
//! are the same on every run. All is counted but the client.

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn},
    io,
    pin::pin,
};

use axum::Router;
use bytes::BytesMut;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::Runtime,
};
use tower_ops::connections::{Connections, Listener, Peer};

use crate::{
    Workload,
    counting::{counted, uncounted},
    workload::{BODY, Connection, Until, exchanges, router},
};

const PIPE: usize = 64 * 1024;

pub(crate) fn bare() -> Workload {
    workload(|stream, app| async move {
        let service = TowerToHyperService::new(app);
        let http = auto::Builder::new(TokioExecutor::new());
        let _ = http
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .await;
    })
}

pub(crate) fn tracked() -> Workload {
    let connections = Connections::new();
    workload(move |stream, app| {
        let connections = connections.clone();
        async move {
            let tracked = connections.accept(stream, Peer::Unknown).await;
            let io = tracked.expect("room for a connection");
            let service = TowerToHyperService::new(io.connection().service(app));
            let http = auto::Builder::new(TokioExecutor::new());
            let _ = http
                .serve_connection_with_upgrades(TokioIo::new(io), service)
                .await;
        }
    })
}

pub(crate) fn server() -> Workload {
    let connections = Connections::new();
    workload(move |stream, app| {
        let server = connections.server();
        async move {
            let _ = server.serve(One(Some(stream)), app, pending()).await;
        }
    })
}

fn workload<F>(serve: impl Fn(DuplexStream, Router) -> F + Send + Sync + 'static) -> Workload
where
    F: Future<Output = ()> + Send + 'static,
{
    let app = router().with_state(());
    Workload::connecting(move |runtime, head| {
        let (stream, server) = duplex(PIPE);
        runtime.spawn(serve(server, app.clone()));
        Exchanges {
            stream,
            request: head.on_the_wire(),
            response: BytesMut::with_capacity(1024),
        }
    })
}

struct Exchanges {
    stream: DuplexStream,
    request: Vec<u8>,
    response: BytesMut,
}

impl Connection for Exchanges {
    fn send(&mut self, runtime: &Runtime, until: Until, upkeep: &dyn Fn()) -> usize {
        counted(|| {
            runtime.block_on(exchanges(until, upkeep, async || {
                let mut exchange = pin!(self.exchange());
                poll_fn(|cx| uncounted(|| exchange.as_mut().poll(cx))).await;
            }))
        })
    }
}

impl Exchanges {
    async fn exchange(&mut self) {
        let sent = self.stream.write_all(&self.request).await;
        sent.expect("the server reads");
        self.response.clear();
        while !self.response.ends_with(BODY.as_bytes()) {
            let read = self.stream.read_buf(&mut self.response).await;
            assert_ne!(read.expect("the server writes"), 0, "the server hung up");
        }
        assert!(self.response.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// One connection, and no other.
struct One(Option<DuplexStream>);

impl Listener for One {
    type Io = DuplexStream;

    async fn next(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.take() {
            Some(stream) => Ok((stream, Peer::Unknown)),
            None => match pending::<Infallible>().await {},
        }
    }

    fn address(&self) -> String {
        "a pipe".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_answers_two_clients() {
        for workload in [bare(), tracked(), server()] {
            let runtime = || Workload::runtime().unwrap();
            let (mut first, mut second) = (
                workload.client(runtime()),
                workload.second_client(runtime()),
            );
            for _ in 0..2 {
                first.run(2);
                second.run(2);
            }
        }
    }
}
