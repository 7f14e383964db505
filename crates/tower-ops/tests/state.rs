//! The state of a service that the bundle serves.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tower_ops::lifecycle::ShutdownReport;
use tower_ops::state::{Refusal, Restore};
use tower_ops::{Ops, OpsBuilder};
use tower_ops_testing::{RawHttp1, free_addr};

const TOKEN: &str = "a-token-of-more-than-16-characters";
const LONG: Duration = Duration::from_secs(10);

#[derive(Clone, Default)]
struct Orders(Arc<Mutex<Vec<u32>>>);

struct Instance {
    ops: Ops,
    orders: Orders,
    operations: SocketAddr,
    stopped: JoinHandle<Result<ShutdownReport, tower_ops::StartError>>,
}

impl Instance {
    async fn start(
        orders: &[u32],
        file: Option<&Path>,
        change: impl FnOnce(OpsBuilder) -> OpsBuilder,
    ) -> Self {
        let orders = Orders(Arc::new(Mutex::new(orders.to_vec())));
        let (get, set) = (orders.clone(), orders.clone());
        let file = file.map(Path::to_owned);
        let operations = free_addr();
        let builder = Ops::builder("orders")
            .private_recorder()
            .version("1.4.2")
            .ops_addr(operations.to_string())
            .lifecycle(|life| life.pre_drain(Duration::ZERO).signals(false))
            .state(move |state| {
                let state = state.token(TOKEN).single(
                    move || get.0.lock().unwrap().clone(),
                    move |orders| {
                        *set.0.lock().unwrap() = orders;
                        Ok(())
                    },
                );
                match file {
                    Some(file) => state.file(file),
                    None => state,
                }
            });
        let ops = change(builder).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stopped = tokio::spawn({
            let ops = ops.clone();
            async move { ops.serve(listener, Router::new()).await }
        });
        let instance = Self {
            ops,
            orders,
            operations,
            stopped,
        };
        let started = Instant::now();
        while tokio::net::TcpStream::connect(operations).await.is_err() {
            assert!(started.elapsed() < LONG);
            sleep(Duration::from_millis(5)).await;
        }
        instance
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut client = RawHttp1::connect(self.operations).await.unwrap();
        let bearer = format!("Bearer {TOKEN}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        client
            .send_request(method, path, &headers, body)
            .await
            .unwrap();
        let head = client.read_head().await.unwrap();
        let body = client.read_body(&head).await.unwrap().data;
        (
            head.status.as_u16(),
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    async fn until_ready(&self, status: u16) {
        let started = Instant::now();
        while self.ask("GET", "/ready", "").await.0 != status {
            assert!(started.elapsed() < LONG, "/ready is never {status}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn orders(&self) -> Vec<u32> {
        self.orders.0.lock().unwrap().clone()
    }

    async fn stop(self) -> ShutdownReport {
        self.ops.lifecycle().shutdown();
        timeout(LONG, self.stopped).await.unwrap().unwrap().unwrap()
    }
}

#[tokio::test]
async fn an_instance_takes_over_from_another_before_it_is_ready() {
    let first = Instance::start(&[1, 2, 3], None, |ops| ops).await;
    let second = Instance::start(&[], None, OpsBuilder::state_before_ready).await;
    first.until_ready(200).await;
    assert_eq!(second.ask("GET", "/ready", "").await.0, 503);
    assert_eq!(second.ask("GET", "/startup", "").await.0, 503);

    let (status, envelope) = first.ask("GET", "/state?fence=1", "").await;
    assert_eq!(status, 200);
    assert!(
        envelope.contains("\"application_version\":\"1.4.2\""),
        "{envelope}"
    );
    assert!(first.ops.state().unwrap().fence().is_handed_over());
    let (status, answer) = second.ask("POST", "/state", &envelope).await;
    assert_eq!(status, 200, "{answer}");
    second.until_ready(200).await;
    assert_eq!(second.orders(), [1, 2, 3]);

    // It serves now: nobody restores it by accident.
    let (status, answer) = second.ask("POST", "/state", &envelope).await;
    assert_eq!(status, 409, "{answer}");
    // But somebody may who has taken it out of service.
    second.ops.health().mark_not_ready();
    second.until_ready(503).await;
    let (status, _) = second.ask("POST", "/state?dry_run=1", &envelope).await;
    assert_eq!(status, 200);
    let (_, metrics) = second.ask("GET", "/metrics", "").await;
    let counted = "state_operations_total{operation=\"restore\",outcome=\"ok\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_is_half_restored_is_never_ready() {
    let second = Instance::start(&[7], None, OpsBuilder::state_before_ready).await;
    for broken in ["", "{}", "{\"format\":\"tower-ops-state\""] {
        let (status, answer) = second.ask("POST", "/state", broken).await;
        assert_eq!(status, 400, "{answer}");
    }
    assert_eq!(second.ask("GET", "/ready", "").await.0, 503);
    assert_eq!(second.orders(), [7]);
    second.stop().await;
}

#[tokio::test]
async fn an_instance_with_parts_of_two_states_is_not_ready() {
    let ops = Ops::builder("orders")
        .private_recorder()
        .ops_addr("127.0.0.1:0")
        .lifecycle(|life| life.signals(false))
        .state(|state| {
            // Takes the new one only half, and the old one not at all.
            state
                .token(TOKEN)
                .single(|| 7_u32, |_: u32| Err(Refusal::new("no")))
        })
        .build()
        .unwrap();
    let endpoint = ops.start_operations().unwrap();
    ops.mark_ready();
    let state = ops.state().unwrap();
    let mut envelope = Vec::new();
    let capture = state.capture().await.unwrap();
    capture.write_to(&mut envelope).unwrap();
    let forced = state.restore(envelope, Restore::new().force(true)).await;
    assert_eq!(forced.unwrap_err().rolled_back(), Some(false));
    assert!(!ops.health().is_ready());
    drop(endpoint);
}

#[tokio::test]
async fn a_file_keeps_it_from_one_process_to_the_next() {
    let directory = std::env::temp_dir().join(format!("tower-ops-state-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("orders.json");
    let first = Instance::start(&[4, 5], Some(&file), |ops| ops).await;
    first.until_ready(200).await;
    let report = first.stop().await;
    assert!(report.to_string().contains("state file"), "{report}");
    assert!(report.is_clean(), "{report}");

    let second = Instance::start(&[], Some(&file), |ops| ops).await;
    second.until_ready(200).await;
    assert_eq!(second.orders(), [4, 5], "before it is ready");
    second.stop().await;

    std::fs::write(&file, "torn").unwrap();
    let third = Instance::start(&[], Some(&file), |ops| ops).await;
    third.until_ready(200).await;
    assert_eq!(third.orders(), [] as [u32; 0]);
    let kept_aside = std::fs::read_dir(&directory).unwrap().any(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("orders.json.rejected-")
    });
    assert!(kept_aside, "nothing is thrown away");
    third.stop().await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn problems_of_the_state_are_listed_with_everything_else() {
    let error = Ops::builder(" ")
        .state(|state| state.token("short").max_size(0))
        .build()
        .unwrap_err()
        .to_string();
    for problem in ["name: is empty", "state: token", "state: max_size"] {
        assert!(error.contains(problem), "{problem:?} is not in {error}");
    }
    let error = Ops::builder("orders").state_before_ready().build();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("there is no state to wait for"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_getter_that_blocks_does_not_keep_serve_from_returning() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (here, is_here) = std::sync::mpsc::channel();
    let released = Mutex::new(released);
    let operations = free_addr();
    let ops = Ops::builder("orders")
        .private_recorder()
        .ops_addr(operations.to_string())
        .lifecycle(|life| life.pre_drain(Duration::ZERO).signals(false))
        .state(move |state| {
            let getter = move || {
                here.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
                7
            };
            state.token(TOKEN).single(getter, |_| Ok(()))
        })
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = tokio::spawn({
        let ops = ops.clone();
        async move { ops.serve(listener, Router::new()).await }
    });
    let start = Instant::now();
    let mut client = loop {
        match RawHttp1::connect(operations).await {
            Ok(client) => break client,
            Err(error) => assert!(start.elapsed() < LONG, "{error}"),
        }
        sleep(Duration::from_millis(5)).await;
    };
    let token = format!("Bearer {TOKEN}");
    let headers = [("authorization", token.as_str())];
    client
        .send_request("GET", "/state", &headers, "")
        .await
        .unwrap();
    tokio::task::spawn_blocking(move || is_here.recv_timeout(LONG).unwrap())
        .await
        .unwrap();
    ops.lifecycle().shutdown();
    // The getter blocks until it is released, which comes last.
    timeout(LONG, serving).await.unwrap().unwrap().unwrap();
    drop(release);
}
