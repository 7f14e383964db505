//! Connections across crates: the playground and a bare accept loop as processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tower_ops_testing::{Process, RawHttp1, free_addr};
use tower_ops_tests::Service;

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_exchange_knows_its_connection_and_the_other_way_round() {
    let service = Service::start("playground").await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    let own = client.local_addr().unwrap().to_string();
    client
        .send_request("GET", "/users/1", &[], "")
        .await
        .unwrap();
    let head = client.read_head().await.unwrap();
    client.read_body(&head).await.unwrap();
    client
        .send_request("GET", "/slow/5000", &[], "")
        .await
        .unwrap();
    let running = loop {
        let (_, text) = service.ops_get("/requests").await;
        let listed: Value = serde_json::from_str(&text).unwrap();
        if let Some(running) = listed["requests"].get(0) {
            break running.clone();
        }
        sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(running["peer"], own.as_str(), "{running}");

    let id = running["connection"].as_u64().unwrap();
    let (status, text) = service.ops_get(&format!("/connections/{id}")).await;
    assert_eq!(status, 200, "{text}");
    let connection: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(connection["peer"], own.as_str(), "{text}");
    assert_eq!(connection["protocol"], "http1", "{text}");
    assert_eq!(connection["exchanges"], 2, "{text}");
    assert_eq!(connection["in_flight"], 1, "{text}");

    let metrics = service.scrape().await;
    assert_eq!(
        metrics.count("server_active_connections", &[("protocol", "http1")]),
        1
    );
    drop(client);
    for _ in 0..200 {
        let metrics = service.scrape().await;
        if metrics.count("server_active_connections", &[]) == 0 {
            // A scrape reads counters before gauges; the next one has them all.
            let metrics = service.scrape().await;
            let closed = metrics.count("server_connections_closed_total", &[]);
            assert_eq!(closed, metrics.count("server_connections_total", &[]));
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("a connection is still counted");
}

#[cfg(unix)]
#[tokio::test]
async fn to_be_out_of_file_descriptors_is_survived_and_said() {
    let addr = free_addr();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 40; exec \"$0\" server"])
        .arg(env!("CARGO_BIN_EXE_hyper_loop"))
        .env("APP_ADDR", addr.to_string());
    let mut server = Process::spawn(command).unwrap();
    server.wait_accepting(addr, DEADLINE).await;
    let mut kept = Vec::new();
    for _ in 0..100 {
        kept.push(TcpStream::connect(addr).await.unwrap());
    }
    server
        .wait_output("cannot accept connections", DEADLINE)
        .await;
    // Logged once, not for every try.
    sleep(Duration::from_millis(1_500)).await;
    let output = server.output();
    let times = output.iter().filter(|line| line.contains("cannot accept"));
    assert_eq!(times.count(), 1, "{output:?}");
    drop(kept);
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// How many requests are in flight, by the operations endpoint.
async fn in_flight(ops: SocketAddr) -> u64 {
    let mut client = RawHttp1::connect(ops).await.unwrap();
    client
        .send_request("GET", "/requests", &[], "")
        .await
        .unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap().data;
    let listed: Value = serde_json::from_slice(&body).unwrap();
    listed["in_flight"].as_u64().unwrap()
}

/// An HTTP/2 client that is not hyper's gets all of its five answers after GOAWAY, whose second
/// frame names the last stream.
#[tokio::test]
#[ignore = "needs nghttp and openssl; scripts/test runs it"]
async fn nghttp_gets_goaway_and_loses_nothing() {
    for tls in [false, true] {
        let (app, ops) = (free_addr(), free_addr());
        let mut command = Process::example("playground");
        command
            .env("APP_ADDR", app.to_string())
            .env("OPS_ADDR", ops.to_string())
            // So that it ends with requests in flight.
            .env("PRE_DRAIN_MS", "0");
        if tls {
            let files = certificate();
            command
                .env("TLS_CERT", files.join("tls.crt"))
                .env("TLS_KEY", files.join("tls.key"));
        }
        let mut playground = Process::spawn(command).unwrap();
        playground.wait_accepting(app, DEADLINE).await;
        let scheme = if tls { "https" } else { "http" };
        let mut client = Command::new("nghttp");
        client.args(["--verbose", "--no-dep", "--timeout=20"]);
        for ms in [2_900, 3_100, 3_000, 3_200, 2_800] {
            client.arg(format!("{scheme}://{app}/slow/{ms}"));
        }
        let client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let client = client.unwrap();
        while in_flight(ops).await < 5 {
            sleep(Duration::from_millis(10)).await;
        }
        playground.terminate().unwrap();
        let output = tokio::task::spawn_blocking(|| client.wait_with_output().unwrap());
        let output = String::from_utf8(output.await.unwrap().stdout).unwrap();

        assert_eq!(output.matches(":status: 200").count(), 5, "{output}");
        assert_eq!(output.matches("waited ").count(), 5, "{output}");
        let goaways: Vec<_> = output
            .lines()
            .skip_while(|line| !line.contains("recv GOAWAY"))
            .filter(|line| line.contains("last_stream_id="))
            .collect();
        // Five requests, with the odd numbers of a client.
        assert!(
            goaways[0].contains("last_stream_id=2147483647, error_code=NO_ERROR"),
            "{output}"
        );
        assert!(
            goaways[1].contains("last_stream_id=9, error_code=NO_ERROR"),
            "{output}"
        );
        let exit = playground.wait_exit(DEADLINE).await;
        assert!(exit.success(), "{:?}", playground.output());
    }
}

/// A certificate of its own authority for 127.0.0.1.
fn certificate() -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("tower-ops-tls-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", "tls.key", "-out", "tls.crt"])
        .current_dir(&directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    directory
}
