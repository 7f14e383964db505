use std::net::SocketAddr;
use std::time::Duration;

use tower_ops_testing::{Process, RawHttp1, free_addr};

use crate::exchange::{Answer, Protocol};
use crate::samples::Samples;

const DEADLINE: Duration = Duration::from_secs(20);

/// An example that runs as a process of its own, on free ports.
#[derive(Debug)]
pub struct Service {
    process: Process,
    app: SocketAddr,
    ops: SocketAddr,
}

impl Service {
    /// Starts an example and waits until it listens. Ends when it is dropped.
    pub async fn start(example: &str) -> Self {
        Self::start_with(example, &[]).await
    }

    /// As [`start`](Self::start), with more in its environment.
    pub async fn start_with(example: &str, environment: &[(&str, &str)]) -> Self {
        let (app, ops) = (free_addr(), free_addr());
        let mut command = Process::example(example);
        command
            .envs(environment.iter().copied())
            .env("APP_ADDR", app.to_string())
            .env("GRPC_ADDR", app.to_string())
            .env("OPS_ADDR", ops.to_string());
        let mut process = Process::spawn(command).unwrap();
        process.wait_accepting(app, DEADLINE).await;
        process.wait_accepting(ops, DEADLINE).await;
        Self { process, app, ops }
    }

    /// The application's address.
    #[must_use]
    pub const fn app(&self) -> SocketAddr {
        self.app
    }

    /// The address of the operations endpoint.
    #[must_use]
    pub const fn ops(&self) -> SocketAddr {
        self.ops
    }

    /// The process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks the application with GET; the status, the headers and the text.
    pub async fn get(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, http::HeaderMap, String) {
        get(self.app, path, headers).await
    }

    /// Asks the application with GET over either protocol.
    pub async fn ask(&self, protocol: Protocol, path: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = protocol.ask(self.app, "GET", path, headers, "").await;
        answer.unwrap_or_else(|error| panic!("{protocol:?} {path}: {error}"))
    }

    /// Sends GET to the operations endpoint; returns the status and the text.
    pub async fn ops_get(&self, path: &str) -> (u16, String) {
        let (status, _, text) = get(self.ops, path, &[]).await;
        (status, text)
    }

    /// Scrapes `/metrics`.
    pub async fn scrape(&self) -> Samples {
        let (status, text) = self.ops_get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Samples::parse(&text)
    }

    /// Scrapes `/metrics` once nothing is in flight any more: an exchange ends a
    /// little later at the server than at the client.
    ///
    /// A scrape is no snapshot: the exporter reads counters before gauges. So the
    /// one that found nothing in flight may lack the last total; the next has it.
    pub async fn scrape_idle(&self) -> Samples {
        for _ in 0..100 {
            let samples = self.scrape().await;
            if samples.count("server_in_flight_requests", &[]) == 0 {
                return self.scrape().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("requests are still in flight after five seconds");
    }
}

async fn get(
    addr: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, http::HeaderMap, String) {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send_request("GET", path, headers, "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap();
    let text = String::from_utf8_lossy(&body.data).into_owned();
    (head.status.as_u16(), head.headers, text)
}
