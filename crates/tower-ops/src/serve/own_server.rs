#[cfg(feature = "tonic")]
use std::io;

#[cfg(feature = "axum")]
use axum::serve::{Listener as AxumListener, ListenerExt as _, TapIo};
#[cfg(feature = "tonic")]
use futures_util::Stream;
use tower_ops_connections::Server;
#[cfg(any(feature = "axum", feature = "tonic"))]
use tower_ops_connections::Tracked;
#[cfg(feature = "tonic")]
use tower_ops_connections::{ConnectionLayer, Listener};
#[cfg(feature = "axum")]
use tower_ops_connections::{MakeAxumService, Peer, TrackedListener};

use crate::ops::Ops;
#[cfg(any(feature = "axum", feature = "tonic"))]
use crate::serve::activity_listener::ActivityListener;

/// For a server of your own.
impl Ops {
    /// Returns the accept loop of [`serve`](Self::serve) alone, without the operations endpoint and
    /// the lifecycle. Use it to change the settings of hyper.
    #[must_use]
    pub fn server(&self) -> Server {
        self.server_named("default")
    }

    pub(crate) fn server_named(&self, listener: &str) -> Server {
        let server = self.inner.connections.named(listener).server();
        let server = server.extended_connect(self.inner.extended_connect);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.inner.tls {
            return server.tls(tls.clone());
        }
        server
    }

    /// Wraps a listener for `axum::serve`: its connections are tracked and have limits. Serve a
    /// [`make_service`](Self::make_service) on it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(ops: tower_ops::Ops, app: axum::Router) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
    /// axum::serve(ops.listener(listener), ops.make_service(app)).await
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn listener<L>(
        &self,
        listener: L,
    ) -> TapIo<
        ActivityListener<TapIo<TrackedListener<L>, fn(&mut Tracked<L::Io>)>>,
        fn(&mut Tracked<L::Io>),
    >
    where
        L: AxumListener,
        for<'a> Peer: From<&'a L::Addr>,
    {
        self.inner.lifecycle.track_servers();
        // Innermost, since it counts the errors of the socket itself.
        let listener = self.inner.connections.listener(listener);
        // Tapped, since axum implements `Connected` for `TapIo`, and we cannot for our listener.
        ActivityListener::new(listener, self.inner.lifecycle.activity()).tap_io(|_| {})
    }

    /// Wraps the application for a [`listener`](Self::listener), so that each connection counts its
    /// requests.
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    #[must_use]
    pub fn make_service<M>(&self, inner: M) -> MakeAxumService<M> {
        self.inner.connections.make_service(inner)
    }

    /// Wraps a listener for tonic's `serve_with_incoming`: its connections are tracked and have
    /// limits. Add [`connection_layer`](Self::connection_layer) to the server, before all other
    /// layers.
    #[cfg(feature = "tonic")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
    pub fn incoming<L: Listener>(
        &self,
        listener: L,
    ) -> impl Stream<Item = io::Result<Tracked<L::Io>>> + Send + use<L> {
        self.inner.lifecycle.track_servers();
        let listener = ActivityListener::new(listener, self.inner.lifecycle.activity());
        self.inner.connections.incoming(listener)
    }

    /// Returns the layer with which each connection of [`incoming`](Self::incoming) counts its
    /// requests.
    #[cfg(feature = "tonic")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
    #[must_use]
    pub fn connection_layer(&self) -> ConnectionLayer {
        self.inner.connections.layer()
    }
}
