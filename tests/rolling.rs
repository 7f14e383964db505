//! Two instances behind a balancer that reacts late, restarted in turn under load: no request may
//! fail.
//!
//! `ROLLED=plain` restarts plain `axum::serve` with its graceful shutdown instead and asserts
//! nothing; it prints the same table for comparison:
//!
//! ```text
//! cargo build --release --package tower-ops-examples --example playground
//! cargo test --release --package tower-ops-tests --test rolling -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::env;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tower_ops_testing::{Process, free_addr};
use tower_ops_tests::{Balancer, Kind, Load};

/// How late the balancer is.
const DELAY: Duration = Duration::from_secs(1);
/// How often both are restarted.
const ROUNDS: usize = 3;
/// How many requests there have to be for the result to mean something.
const ENOUGH: usize = 50_000;
/// How many may meet the end of their connection before they were sent.
const MOST_SENT_AGAIN: usize = 20;
/// Clients of each kind, and how long each waits between two requests.
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(5);

const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Playground,
    Plain,
}

struct Instance {
    what: What,
    app: SocketAddr,
    ops: SocketAddr,
    process: Process,
}

impl Instance {
    async fn start(what: What) -> Self {
        let (app, ops) = (free_addr(), free_addr());
        let process = spawn(what, app, ops).await;
        Self {
            what,
            app,
            ops,
            process,
        }
    }

    /// Tells it to stop, waits until it has, and starts it again on the same addresses.
    async fn restart(&mut self) -> Duration {
        let began = Instant::now();
        self.process.terminate().unwrap();
        let status = self.process.wait_exit(LONG).await;
        let took = began.elapsed();
        assert_eq!(status.code(), Some(0), "{:?}", self.process.output());
        if let Some(report) = self
            .process
            .output()
            .iter()
            .find(|it| it.contains("aborted"))
        {
            println!("    {report}");
        }
        self.process = spawn(self.what, self.app, self.ops).await;
        took
    }

    /// Where the balancer asks.
    fn probe(&self) -> (SocketAddr, SocketAddr, &'static str) {
        match self.what {
            What::Playground => (self.app, self.ops, "/ready"),
            What::Plain => (self.app, self.app, "/ready"),
        }
    }
}

async fn spawn(what: What, app: SocketAddr, ops: SocketAddr) -> Process {
    let mut command = match what {
        What::Playground => Process::example("playground"),
        What::Plain => Command::new(env!("CARGO_BIN_EXE_plain_axum")),
    };
    command
        .env("APP_ADDR", app.to_string())
        .env("OPS_ADDR", ops.to_string());
    let mut process = Process::spawn(command).unwrap();
    process.wait_accepting(app, LONG).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute; scripts/test runs it"]
async fn rolling_restarts_lose_no_request() {
    let plain = env::var("ROLLED").is_ok_and(|rolled| rolled == "plain");
    let what = if plain { What::Plain } else { What::Playground };
    let mut instances = [Instance::start(what).await, Instance::start(what).await];
    let balancer = Balancer::start(instances.iter().map(Instance::probe), DELAY).await;
    for place in 0..instances.len() {
        timeout(LONG, balancer.wait_routed(place, true))
            .await
            .unwrap();
    }
    let loads = Kind::ALL.map(|kind| Load::start(kind, balancer.addr(), CLIENTS, PAUSE));

    for round in 1..=ROUNDS {
        for (place, instance) in instances.iter_mut().enumerate() {
            let took = instance.restart().await;
            println!("round {round}, instance {place}: gone after {took:.1?}");
            // It is routed to still, where it was quicker than the balancer.
            let unrouted = balancer.wait_routed(place, false);
            let _ = timeout(DELAY * 2, unrouted).await;
            timeout(LONG, balancer.wait_routed(place, true))
                .await
                .unwrap();
        }
    }

    println!("protocol  requests  failed      p50      p99      max");
    let (mut requests, mut failures, mut sent_again) = (0, 0, 0);
    for load in loads {
        let kind = load.kind();
        let mut felt = load.stop().await;
        requests += felt.requests();
        failures += felt.failures();
        let quantiles = [0.5, 0.99, 1.0 - f64::EPSILON].map(|part| felt.quantile(part));
        println!(
            "{:8}  {:8}  {:6}  {:>7.1?}  {:>7.1?}  {:>7.1?}",
            kind.as_str(),
            felt.requests(),
            felt.failures(),
            quantiles[0],
            quantiles[1],
            quantiles[2]
        );
        sent_again += felt.sent_again;
        for (what, times) in &felt.failed {
            println!("    {times} × {what}");
        }
    }
    println!("{requests} requests, {failures} failed, {sent_again} sent again as never sent");
    if !plain {
        assert!(requests >= ENOUGH, "{requests} are too few");
        assert_eq!(failures, 0);
        // A race within a client now and then, and not how a drain ends.
        assert!(sent_again <= MOST_SENT_AGAIN, "{sent_again} sent again");
    }
}
