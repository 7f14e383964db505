//! No descriptors left under `axum::serve`: alone in its process, since it takes them all.
#![cfg(all(unix, feature = "axum"))]

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Router, routing::get};
use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tower_ops::Ops;

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn errors_of_accepting_under_axum_are_counted_and_survived() {
    let limit = getrlimit(Resource::Nofile);
    let less = Rlimit {
        current: Some(256),
        ..limit
    };
    setrlimit(Resource::Nofile, less).unwrap();
    let ops = Ops::builder("test").for_tests().build().unwrap();
    let peer = async |ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>| peer.to_string();
    let app = Router::new()
        .route("/", get(peer))
        .into_make_service_with_connect_info::<std::net::SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (listener, app) = (ops.listener(listener), ops.make_service(app));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    // The client's own, before there are none.
    let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    connect(&client, &addr).unwrap();
    let errors = "server_connections_accept_errors_total";
    let counted = async {
        loop {
            let text = ops.prometheus().unwrap().render();
            let found = |line: &str| line.starts_with(errors) && line.contains("descriptors");
            if text.lines().any(found) {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, counted).await.expect("it is counted");

    drop(taken);
    setrlimit(Resource::Nofile, limit).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        let mut client = TcpStream::from(client);
        let own = client.local_addr().unwrap().to_string();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        (own, answer)
    });
    let (own, answer) = answer.await.unwrap();
    assert!(answer.ends_with(&own), "{answer}");
    serving.abort();
}
