//! A service that systemd starts with a socket, and that notifies systemd when it is ready.
//!
//! ```sh
//! systemd-socket-activate -l 127.0.0.1:3000 \
//!     cargo run -p tower-ops-lifecycle --features systemd --example activated
//! nc 127.0.0.1 3000    # hello
//! ```

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Before the runtime has threads.
    let sockets = tower_ops_lifecycle::ActivatedSockets::take();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(sockets))
}

#[cfg(unix)]
async fn serve(
    mut sockets: tower_ops_lifecycle::ActivatedSockets,
) -> Result<(), Box<dyn std::error::Error>> {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tower_ops_lifecycle::Lifecycle;

    let listener = match sockets.tcp_listener(0)? {
        Some(listener) => TcpListener::from_std(listener)?,
        None => TcpListener::bind("127.0.0.1:3000").await?,
    };
    let lifecycle = Lifecycle::builder()
        .notify_systemd(true)
        // No pre-drain is needed: systemd holds the socket, and the next process takes it.
        .pre_drain(Duration::ZERO)
        .build()?;
    let stopped = lifecycle.run();
    let activity = lifecycle.activity();
    let token = lifecycle.drain_token();
    lifecycle.mark_ready();
    while let Some(accepted) = token.run_until_cancelled(listener.accept()).await {
        let (mut client, _) = accepted?;
        activity.touch();
        let guard = lifecycle.drain_guard("connection");
        tokio::spawn(async move {
            let _guard = guard;
            let _ = client.write_all(b"hello\n").await;
        });
    }
    eprintln!("{}", stopped.await);
    Ok(())
}

#[cfg(not(unix))]
fn main() {}
