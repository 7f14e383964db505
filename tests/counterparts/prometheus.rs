use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tower_ops_testing::{Process, free_addr};
use tower_ops_tests::Protocol;

use crate::Dir;

const DEADLINE: Duration = Duration::from_secs(30);

/// A Prometheus of our own, which scrapes one address every second.
pub(crate) struct Prometheus {
    process: Process,
    addr: SocketAddr,
    _dir: Dir,
}

impl Prometheus {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let dir = Dir::new("prometheus");
        let config = dir.path().join("prometheus.yml");
        let scrape = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs:\n\
             - job_name: playground\n\
             \u{20} static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        fs::write(&config, scrape).unwrap();
        let addr = free_addr();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .arg("--log.level=warn");
        let mut process =
            Process::spawn(command).expect("run prometheus, which scripts/test installs");
        process.wait_accepting(addr, DEADLINE).await;
        let prometheus = Self {
            process,
            addr,
            _dir: dir,
        };
        prometheus.wait_for("up", 1).await;
        prometheus
    }

    /// The value of a query that gives one series, or none yet.
    pub(crate) async fn query(&self, query: &str) -> Option<f64> {
        let path = format!("/api/v1/query?query={}", percent_encode(query));
        let answer = Protocol::Http1.ask(self.addr, "GET", &path, &[], "");
        let answer = answer.await.unwrap();
        // Right after the start it answers that it is not yet ready.
        if answer.status == 503 {
            return None;
        }
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let value = answer["data"]["result"][0]["value"][1].as_str()?;
        Some(value.parse().unwrap())
    }

    pub(crate) async fn wait_for(&self, query: &str, wanted: usize) {
        let until = Instant::now() + DEADLINE;
        let wanted = Some(wanted.to_string());
        loop {
            let found = self.query(query).await.map(|value| value.to_string());
            if found == wanted {
                return;
            }
            assert!(
                Instant::now() < until,
                "{query}: {found:?} instead of {wanted:?} after {DEADLINE:?}; prometheus said:\n{}",
                self.process.output().join("\n")
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn stop(mut self) {
        self.process.terminate().unwrap();
        assert!(self.process.wait_exit(DEADLINE).await.success());
    }
}

fn percent_encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
