//! `grpc.health.v1`, as tonic's client and Python's see it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

#[path = "support/script.rs"]
mod script;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use script::{Mood, Script};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, ServiceUnknown, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_ops_health::{Group, Health};

const SOON: Duration = Duration::from_secs(10);

struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Running {
    async fn start(health: &Health) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let router = Server::builder().add_service(health.grpc());
        let server = tokio::spawn(router.serve_with_incoming_shutdown(
            TcpListenerStream::new(listener),
            async {
                let _ = stopped.await;
            },
        ));
        Self { addr, stop, server }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.addr)).unwrap();
        endpoint.connect().await.unwrap()
    }

    async fn client(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel().await)
    }
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<i32, Code> {
    let answer = client.check(named(service)).await;
    answer
        .map(|answer| answer.into_inner().status)
        .map_err(|status| status.code())
}

async fn watch(
    client: &mut HealthClient<Channel>,
    service: &str,
) -> Streaming<HealthCheckResponse> {
    client.watch(named(service)).await.unwrap().into_inner()
}

/// The next status, or the end.
async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Option<i32> {
    let message = timeout(SOON, watch.message()).await.expect("a message");
    message.unwrap().map(|message| message.status)
}

async fn change(changes: &mut tower_ops_health::Changes) {
    let change = timeout(SOON, changes.next()).await;
    change.expect("a change").unwrap();
}

fn health(orders: &Script) -> Health {
    let check = orders.check("orders-db").critical().group("shop.Orders");
    Health::builder()
        .group(Group::new("shop.Orders"))
        .check(
            check
                .period(Duration::from_millis(20))
                .timeout(Duration::from_millis(20)),
        )
        .build()
        .unwrap()
}

#[tokio::test]
async fn check_answers_the_status_of_groups() {
    let orders = Script::new();
    let health = health(&orders);
    let mut changes = health.changes();
    tokio::spawn(health.run());
    change(&mut changes).await;
    let server = Running::start(&health).await;
    let mut client = server.client().await;
    let (yes, no) = (Ok(Serving as i32), Ok(NotServing as i32));
    let mut all = async |expected: [Result<i32, Code>; 5]| {
        let services = ["", "readiness", "liveness", "startup", "shop.Orders"];
        for (service, expected) in services.into_iter().zip(expected) {
            assert_eq!(check(&mut client, service).await, expected, "{service:?}");
        }
    };
    all([no, no, yes, no, no]).await;
    health.mark_ready();
    all([yes, yes, yes, yes, yes]).await;
    orders.set(Mood::Degraded);
    change(&mut changes).await;
    all([yes, yes, yes, yes, yes]).await;
    orders.set(Mood::Down);
    change(&mut changes).await;
    // It is in no other group than its own.
    all([yes, yes, yes, yes, no]).await;
    health.mark_not_ready();
    all([no, no, yes, yes, no]).await;

    for unknown in ["orders-db", "no.Such", "readiness "] {
        assert_eq!(check(&mut client, unknown).await, Err(Code::NotFound));
    }
    let long = "x".repeat(5_000);
    assert_eq!(check(&mut client, &long).await, Err(Code::OutOfRange));
}

#[tokio::test]
async fn watch_sends_changes_and_nothing_twice() {
    let orders = Script::new();
    let health = health(&orders);
    let server = Running::start(&health).await;
    let mut client = server.client().await;
    let mut watched = watch(&mut client, "shop.Orders").await;
    let mut unknown = watch(&mut client, "no.Such").await;
    let mut all = watch(&mut client, "").await;
    assert_eq!(next(&mut watched).await, Some(NotServing as i32));
    assert_eq!(next(&mut unknown).await, Some(ServiceUnknown as i32));
    assert_eq!(next(&mut all).await, Some(NotServing as i32));

    health.mark_ready();
    let mut changes = health.changes();
    tokio::spawn(health.run());
    change(&mut changes).await;
    assert_eq!(next(&mut watched).await, Some(Serving as i32));
    assert_eq!(next(&mut all).await, Some(Serving as i32));
    // Degraded is serving: there is no change.
    for mood in [Mood::Degraded, Mood::Ok, Mood::Degraded, Mood::Down] {
        orders.set(mood);
        change(&mut changes).await;
    }
    assert_eq!(next(&mut watched).await, Some(NotServing as i32));
    orders.set(Mood::Ok);
    assert_eq!(next(&mut watched).await, Some(Serving as i32));
    // One of an unknown service stays open, and sends nothing more.
    timeout(Duration::from_millis(200), unknown.message())
        .await
        .unwrap_err();

    // Not ready for a moment that is too short to be published.
    health.mark_not_ready();
    health.mark_ready();
    for watch in [&mut watched, &mut all] {
        assert_eq!(next(watch).await, Some(NotServing as i32));
        assert_eq!(next(watch).await, Some(Serving as i32));
    }

    health.mark_draining();
    health.mark_ready();
    // While the server accepts, all stay open: a client would open the next one at once.
    for watch in [&mut watched, &mut all] {
        assert_eq!(next(watch).await, Some(NotServing as i32));
    }
    let mut draining = watch(&mut client, "").await;
    assert_eq!(next(&mut draining).await, Some(NotServing as i32));
    for watch in [&mut watched, &mut all, &mut unknown, &mut draining] {
        timeout(Duration::from_millis(100), watch.message())
            .await
            .unwrap_err();
    }
    health.close_watches();
    for watch in [&mut watched, &mut all, &mut unknown, &mut draining] {
        assert_eq!(next(watch).await, None);
    }
    // One that is opened late gets the status and ends, but not at once.
    let began = tokio::time::Instant::now();
    for (service, status) in [
        ("", NotServing),
        ("liveness", Serving),
        ("no", ServiceUnknown),
    ] {
        let mut late = watch(&mut client, service).await;
        assert_eq!(next(&mut late).await, Some(status as i32));
        assert_eq!(next(&mut late).await, None);
    }
    assert!(began.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn a_service_beside_it_is_answered_for_as_the_process_is() {
    let health = health(&Script::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = health.grpc().with_services(["playground.Echo"]);
    let router = Server::builder().add_service(service);
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    let endpoint = Channel::from_shared(format!("http://{addr}")).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let echo = "playground.Echo";
    assert_eq!(check(&mut client, echo).await, Ok(NotServing as i32));
    let mut echoes = watch(&mut client, echo).await;
    assert_eq!(next(&mut echoes).await, Some(NotServing as i32));
    health.mark_ready();
    assert_eq!(check(&mut client, echo).await, Ok(Serving as i32));
    assert_eq!(next(&mut echoes).await, Some(Serving as i32));
    assert_eq!(check(&mut client, "no.Such").await, Err(Code::NotFound));
}

#[tokio::test]
async fn open_watches_do_not_hold_up_a_graceful_shutdown() {
    for drain in [Health::close_watches, |health: &Health| {
        health.mark_draining();
        health.close_watches();
    }] {
        let health = health(&Script::new());
        health.mark_ready();
        let server = Running::start(&health).await;
        let mut client = server.client().await;
        let mut watches = Vec::new();
        for service in ["", "liveness", "startup", "shop.Orders", "no.Such"] {
            let mut watch = watch(&mut client, service).await;
            next(&mut watch).await.unwrap();
            watches.push(watch);
        }
        drain(&health);
        server.stop.send(()).unwrap();
        timeout(SOON, server.server)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        for mut watch in watches {
            while next(&mut watch).await.is_some() {}
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Listed {
    #[prost(map = "string, message", tag = "1")]
    statuses: HashMap<String, HealthCheckResponse>,
}

#[tokio::test]
async fn list_names_every_service() {
    let health = health(&Script::new());
    health.mark_ready();
    let server = Running::start(&health).await;
    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let path = "/grpc.health.v1.Health/List".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<Empty, Listed>::default();
    let listed = client
        .unary(tonic::Request::new(Empty {}), path, codec)
        .await;
    let mut listed: Vec<_> = listed
        .unwrap()
        .into_inner()
        .statuses
        .into_iter()
        .map(|(name, response)| (name, response.status))
        .collect();
    listed.sort();
    let expected = [
        ("", Serving),
        ("liveness", Serving),
        ("readiness", Serving),
        // Its check has not run.
        ("shop.Orders", NotServing),
        ("startup", Serving),
    ];
    let expected = expected.map(|(name, status)| (name.to_owned(), status as i32));
    assert_eq!(listed, expected);

    client.ready().await.unwrap();
    let path = "/grpc.health.v1.Health/Other".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<Empty, Empty>::default();
    let other = client
        .unary(tonic::Request::new(Empty {}), path, codec)
        .await;
    assert_eq!(other.unwrap_err().code(), Code::Unimplemented);
}

/// A client in Python, with the service's definition from its own package.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Python with grpcio-health-checking, which scripts/test installs"]
async fn a_client_in_python_sees_the_same() {
    let python = std::env::var_os("TOWER_OPS_TEST_PYTHON")
        .expect("TOWER_OPS_TEST_PYTHON: the path of a Python with grpcio-health-checking");
    let health = health(&Script::new());
    let mut changes = health.changes();
    tokio::spawn(health.run());
    change(&mut changes).await;
    health.mark_ready();
    let server = Running::start(&health).await;
    let client = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/counterparts/health.py"
    );
    let mut child = std::process::Command::new(python)
        .args([client, &server.addr.to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let stopping = health.clone();
    let seen = tokio::task::spawn_blocking(move || {
        use std::io::BufRead;
        let mut lines = std::io::BufReader::new(output).lines();
        // It prints a line when its watch is open.
        assert_eq!(lines.next().unwrap().unwrap(), "watching");
        stopping.mark_not_ready();
        lines.next().unwrap().unwrap()
    });
    let seen: serde_json::Value = serde_json::from_str(&seen.await.unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        seen,
        serde_json::json!({
            "check": {"": "SERVING", "liveness": "SERVING", "shop.Orders": "SERVING"},
            "unknown": "NOT_FOUND",
            "list": {"": "SERVING", "liveness": "SERVING", "readiness": "SERVING",
                     "shop.Orders": "SERVING", "startup": "SERVING"},
            "watch_unknown": "SERVICE_UNKNOWN",
            "watch": ["SERVING", "NOT_SERVING"],
        })
    );
}
