//! What must end does.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tower_ops_testing::{Process, RawHttp1, free_addr};
use tower_ops_tests::Service;

const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn accepting_goes_on_with_the_first_free_descriptor() {
    let (app, ops) = (free_addr(), free_addr());
    let mut command = Command::new("sh");
    let playground = Process::example("playground");
    command
        .args(["-c", "ulimit -n 80; exec \"$0\""])
        .arg(playground.get_program())
        .env("APP_ADDR", app.to_string())
        .env("OPS_ADDR", ops.to_string());
    let mut server = Process::spawn(command).unwrap();
    server.wait_accepting(app, LONG).await;
    let mut kept = Vec::new();
    for _ in 0..120 {
        kept.push(TcpStream::connect(app).await.unwrap());
    }
    // Those that there is no room for wait in the kernel's queue. Long enough for the longest
    // wait between two tries.
    sleep(2_000 * MILLI).await;
    // One ends now and then: each of them must not begin the wait anew.
    for _ in 0..4 {
        drop(kept.remove(0));
        sleep(400 * MILLI).await;
    }
    drop(kept.drain(..96));
    let freed = Instant::now();
    let mut client = RawHttp1::connect(app).await.unwrap();
    client.send_request("GET", "/", &[], "").await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 200);
    assert!(freed.elapsed() < 5_000 * MILLI, "{:?}", freed.elapsed());
}

#[tokio::test]
async fn a_tls_handshake_that_never_comes_costs_the_drain_nothing() {
    let folder = std::env::temp_dir().join(format!("tower-ops-edges-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
        ])
        .args(["-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        // Only what Rust brings is taken for granted; the crate's own tests make theirs.
        return;
    }
    let environment = [
        ("PRE_DRAIN_MS", "0"),
        ("TLS_CERT", certificate.to_str().unwrap()),
        ("TLS_KEY", key.to_str().unwrap()),
    ];
    let mut service = Service::start_with("playground", &environment).await;
    let mut silent = TcpStream::connect(service.app()).await.unwrap();
    let mut half = TcpStream::connect(service.app()).await.unwrap();
    // The head of a record, and nothing of what it announces.
    half.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
    sleep(100 * MILLI).await;
    let began = Instant::now();
    service.process().terminate().unwrap();
    assert!(service.process().wait_exit(LONG).await.success());
    // The handshakes had their 10 s, and were waited for almost as long.
    assert!(began.elapsed() < 6_000 * MILLI, "{:?}", began.elapsed());
    for client in [&mut silent, &mut half] {
        let end = timeout(LONG, client.read(&mut [0; 64])).await.unwrap();
        assert!(!end.is_ok_and(|bytes| bytes > 0));
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// The timer that the kernel runs for the server's end of a connection, as `/proc/net/tcp`
/// numbers them: 2 is keep-alive.
#[cfg(target_os = "linux")]
fn timer(server: u16, client: u16) -> Option<String> {
    let (server, client) = (format!(":{server:04X}"), format!(":{client:04X}"));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1].ends_with(&server) && row[2].ends_with(&client))?;
    Some(row[5].to_owned())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_peer_that_vanished_is_found_out_by_keep_alive() {
    let service = Service::start("playground").await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    client
        .send_request("GET", "/slow/60000", &[], "")
        .await
        .unwrap();
    service.get("/", &[]).await;
    let own = client.local_addr().unwrap().port();
    let timer = timer(service.app().port(), own).expect("the server's end");
    let (kind, left) = timer.split_once(':').unwrap();
    assert_eq!(kind, "02", "{timer}");
    // In hundredths of a second.
    let left = u64::from_str_radix(left, 16).unwrap();
    assert!(left > 3_000 && left <= 6_100, "{left}");
}

#[tokio::test]
async fn an_upload_that_outlives_its_answer_is_read_to_its_end() {
    let service = Service::start("playground").await;
    let mut client = h2_client(&service).await;
    let head = http::Request::post(format!("http://{}/accept", service.app()));
    let (response, mut body) = client.send_request(head.body(()).unwrap(), false).unwrap();
    let response = timeout(LONG, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 202);
    let (_, connections) = service.ops_get("/connections").await;
    assert!(connections.contains(r#""in_flight":1"#), "{connections}");
    for _ in 0..10 {
        body.send_data(bytes::Bytes::from_static(&[b'x'; 100]), false)
            .unwrap();
        sleep(10 * MILLI).await;
    }
    body.send_data(bytes::Bytes::new(), true).unwrap();
    let until = Instant::now() + LONG;
    loop {
        let (_, _, text) = service.get("/accepted", &[]).await;
        if text.contains("1000") {
            break;
        }
        assert!(Instant::now() < until, "{text}");
        sleep(20 * MILLI).await;
    }
}

async fn h2_client(service: &Service) -> h2::client::SendRequest<bytes::Bytes> {
    let stream = TcpStream::connect(service.app()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}
