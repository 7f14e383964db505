use std::future::Future;
use std::io;

/// A future that completes on SIGINT or SIGTERM (on Ctrl-C where there are no
/// signals): what [`Ops::serve`](crate::Ops::serve) stops at, for a server of
/// your own.
///
/// From the call on, the signals do not end the process any more.
///
/// # Errors
///
/// If the signals cannot be listened to.
///
/// # Panics
///
/// Outside of a tokio runtime.
///
/// # Examples
///
/// ```no_run
/// # async fn run(listener: tokio::net::TcpListener, app: axum::Router) -> std::io::Result<()> {
/// axum::serve(listener, app)
///     .with_graceful_shutdown(tower_ops::shutdown_signal()?)
///     .await
/// # }
/// ```
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + use<>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
