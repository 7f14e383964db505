//! An axum service that loses nothing when it is restarted.
//!
//! ```sh
//! cargo run -p tower-ops-lifecycle --example graceful
//! curl localhost:3000/slow & kill -TERM $(pidof graceful)    # "slow", all the same
//! ```
//!
//! Try a second signal, or `curl localhost:3000/prestop`. In production that path belongs
//! on a port of its own.
#![allow(clippy::print_stdout, reason = "it has something to show")]

use std::convert::Infallible;
use std::env;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_ops_lifecycle::{Hook, Lifecycle};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let mut builder = Lifecycle::builder().expect_step("warm up");
    if let Ok(millis) = env::var("PRE_DRAIN_MS") {
        let time = Duration::from_millis(millis.parse()?);
        builder = builder
            .pre_drain(time)
            .grace_period(Duration::from_secs(60));
    }
    let lifecycle = builder.build()?;
    let stopped = lifecycle.run();

    let mut phases = lifecycle.subscribe();
    tokio::spawn(async move {
        while let Some(phase) = phases.changed().await {
            println!("{phase}");
        }
    });

    // Hooks run in the reverse order of their registration.
    lifecycle.on_stop(Hook::new("telemetry").telemetry(), async || {
        println!("hook telemetry");
    });
    lifecycle.on_stop("pool", async || println!("hook pool"));
    let warm_up = async {
        sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(())
    };
    lifecycle.step("warm up", warm_up).await?;

    let slow = get(|| async {
        sleep(Duration::from_secs(1)).await;
        "slow\n"
    });
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/slow", slow)
        .route_service("/prestop", lifecycle.prestop())
        .layer(lifecycle.connection_close());
    let listener = TcpListener::bind(&addr).await?;
    println!("{}", lifecycle.startup_report());

    let serve = axum::serve(listener, app).with_graceful_shutdown(lifecycle.signal_to_stop());
    match lifecycle.with_deadline(serve).await {
        Ok(served) => served?,
        Err(late) => println!("{late}"),
    }
    lifecycle.shutdown(); // if the server ended by itself
    println!("{}", stopped.await);
    Ok(())
}
