//! TLS in the accept loop: both protocols by ALPN, handshakes with a limit,
//! certificates that change while it runs.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Router, routing::get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower_ops_connections::{CloseReason, ConnectionEvent, Connections, Protocol, Tls};

#[path = "support/frames.rs"]
mod frames;
use frames::{DATA, HEADERS, Http2, RST_STREAM, initial_window};

/// A certificate for `localhost` of its own authority, in files.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Writes another certificate; what a client has to trust for it.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(self.path("tls.crt"), made.cert.pem()).unwrap();
        fs::write(self.path("tls.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    fn tls(&self) -> Tls {
        Tls::from_pem_files(self.path("tls.crt"), self.path("tls.key")).unwrap()
    }
}

async fn connect(
    addr: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    handshake(TcpStream::connect(addr).await?, trusted, protocols).await
}

async fn handshake(
    stream: TcpStream,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn serve(connections: &Connections, tls: Tls, handshake: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = Router::new().route("/", get(async || "hello"));
    let server = connections.server().tls(tls).handshake_timeout(handshake);
    tokio::spawn(async move {
        let never = std::future::pending();
        let _ = server.serve(listener, app, never).await;
    });
    addr
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn both_protocols_are_agreed_on_and_known() {
    let files = Files::new();
    let trusted = files.renew();
    let connections = Connections::new();
    let addr = serve(&connections, files.tls(), LONG).await;

    let mut http1 = connect(addr, &trusted, &["http/1.1"]).await.unwrap();
    assert_eq!(http1.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    http1
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert_ne!(http1.read_buf(&mut answer).await.unwrap(), 0);
    }
    assert_eq!(connections.snapshot(0, 1)[0].protocol, Protocol::Http1);
    assert_eq!(
        connections.snapshot(0, 1)[0].bytes_read,
        27,
        "of the plain text"
    );

    let http2 = connect(addr, &trusted, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(http2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(http2);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, driver) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(driver);
    let request = http::Request::get("https://localhost/")
        .body(String::new())
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(connections.snapshot(1, 1)[0].protocol, Protocol::Http2);
    let report = connections.drain(LONG).await;
    assert_eq!((report.graceful, report.forced), (2, 0), "{report}");
}

#[tokio::test]
async fn a_handshake_that_fails_or_takes_too_long_is_one_reason() {
    let files = Files::new();
    files.renew();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&reasons);
    let connections = Connections::builder()
        .on_event(move |event| {
            if let ConnectionEvent::Closed { reason, .. } = event {
                log.lock().unwrap().push(*reason);
            }
        })
        .build()
        .unwrap();
    let addr = serve(&connections, files.tls(), Duration::from_millis(300)).await;

    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let _ = plain.read_to_end(&mut Vec::new()).await;
    let mut silent = TcpStream::connect(addr).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(290) && took < Duration::from_secs(20),
        "{took:?}"
    );
    let seen = reasons.lock().unwrap().clone();
    assert_eq!(seen, [CloseReason::Handshake; 2]);
    assert!(connections.is_empty());
}

#[tokio::test]
async fn a_certificate_is_renewed_while_it_serves() {
    let files = Files::new();
    let first = files.renew();
    let tls = files.tls();
    let connections = Connections::new();
    let addr = serve(&connections, tls.clone(), LONG).await;
    connect(addr, &first, &[]).await.unwrap();
    assert!(!tls.reload().unwrap(), "nothing is new");

    let second = files.renew();
    connect(addr, &second, &[]).await.unwrap_err();
    assert!(tls.reload().unwrap());
    connect(addr, &second, &[]).await.unwrap();
    connect(addr, &first, &[]).await.unwrap_err();

    // A renewal that is half written: the key is of another certificate.
    let certificate = fs::read(files.path("tls.crt")).unwrap();
    files.renew();
    fs::write(files.path("tls.crt"), certificate).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("tls.key"), "{error}");
    connect(addr, &second, &[]).await.unwrap();

    let third = files.renew();
    assert!(tls.reload().unwrap());
    connect(addr, &third, &[]).await.unwrap();
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let files = Files::new();
    let tls = || Tls::from_pem_files(files.path("tls.crt"), files.path("tls.key"));
    assert!(tls().unwrap_err().to_string().contains("tls.crt"));
    files.renew();
    tls().unwrap();
    fs::write(files.path("tls.crt"), "nothing of the kind").unwrap();
    let error = tls().unwrap_err().to_string();
    assert!(error.contains("no certificate"), "{error}");
    files.renew();
    fs::write(files.path("tls.key"), "").unwrap();
    let error = tls().unwrap_err().to_string();
    assert!(error.contains("tls.key"), "{error}");
}

#[tokio::test]
async fn a_handshake_under_way_ends_with_its_connection() {
    const SECOND: Duration = Duration::from_secs(1);
    let files = Files::new();
    let trusted = files.renew();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&reasons);
    let connections = Connections::builder()
        .on_event(move |event| {
            if let ConnectionEvent::Closed { reason, .. } = event {
                log.lock().unwrap().push(*reason);
            }
        })
        .build()
        .unwrap();
    let addr = serve(&connections, files.tls(), 100 * SECOND).await;
    let opened = async |count| {
        while connections.len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };

    // By hand: at once.
    let mut silent = TcpStream::connect(addr).await.unwrap();
    opened(1).await;
    let begun = tokio::time::Instant::now();
    assert!(connections.close(connections.snapshot(0, 1)[0].id));
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert!(begun.elapsed() < 5 * SECOND, "{:?}", begun.elapsed());

    // At a drain: at once if it has been silent, and if it came just now it has the
    // time for its handshake and first request.
    let mut silent = TcpStream::connect(addr).await.unwrap();
    silent.write_all(&[22, 3, 1]).await.unwrap();
    opened(1).await;
    tokio::time::sleep(SECOND).await;
    let fresh = TcpStream::connect(addr).await.unwrap();
    opened(2).await;
    let drain = tokio::spawn(connections.drain(20 * SECOND));
    let begun = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert!(begun.elapsed() < SECOND / 2, "{:?}", begun.elapsed());
    let mut fresh = handshake(fresh, &trusted, &["http/1.1"]).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    fresh.write_all(request).await.unwrap();
    let mut answer = String::new();
    let _ = fresh.read_to_string(&mut answer).await;
    assert!(answer.ends_with("hello"), "{answer}");
    let report = drain.await.unwrap();
    assert_eq!((report.graceful, report.forced), (2, 0), "{report}");
    assert!(report.took < 5 * SECOND, "{report}");
    let seen = reasons.lock().unwrap().clone();
    assert_eq!(seen[..2], [CloseReason::Manual, CloseReason::Drain]);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_through_tls() {
    const LIMIT: Duration = Duration::from_millis(500);
    let files = Files::new();
    let trusted = files.renew();
    let connections = Connections::builder()
        .stall_timeout(LIMIT)
        .check_interval(LIMIT / 10)
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let slow = get(async || {
        tokio::time::sleep(4 * LIMIT).await;
        "waited"
    });
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/slow", slow);
    let server = connections.server().tls(files.tls());
    tokio::spawn(async move {
        let never = std::future::pending();
        let _ = server.serve(listener, app, never).await;
    });
    let stream = connect(addr, &trusted, &["h2"]).await.unwrap();
    let mut client = Http2::begin(stream, &initial_window(0)).await;
    client.get(1, "/").await;
    client.get(3, "/slow").await;
    client.until(HEADERS, 1).await;
    assert_eq!(client.until(RST_STREAM, 1).await.payload, [0, 0, 0, 8]);
    assert_eq!(connections.snapshot(0, 1)[0].in_flight, 1);
    client.update(3, 100).await;
    assert_eq!(client.until(DATA, 3).await.payload, b"waited");
}

/// tonic's own TLS is below what is tracked: its bytes show nothing.
#[cfg(feature = "tonic")]
#[tokio::test]
async fn clients_of_tonics_own_tls_are_judged_by_their_requests() {
    use tonic::transport::{Identity, ServerTlsConfig};

    const LIMIT: Duration = Duration::from_millis(500);
    let files = Files::new();
    let trusted = files.renew();
    let closed = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&closed);
    let connections = Connections::builder()
        .header_timeout(LIMIT)
        .idle_timeout(3 * LIMIT)
        .grace_timeout(LIMIT)
        .check_interval(LIMIT / 10)
        .on_event(move |event| {
            if let ConnectionEvent::Closed { reason, age, .. } = event {
                log.lock().unwrap().push((*reason, *age));
            }
        })
        .build()
        .unwrap();
    let read = |name| fs::read_to_string(files.path(name)).unwrap();
    let identity = Identity::from_pem(read("tls.crt"), read("tls.key"));
    let slow = get(async || {
        tokio::time::sleep(5 * LIMIT).await;
        "waited"
    });
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/slow", slow);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap()
            .layer(connections.layer())
            .add_routes(tonic::service::Routes::from(app))
            .serve_with_incoming(connections.incoming(listener)),
    );

    // Silent after the handshake: idle, and no half head.
    let mut silent = connect(addr, &trusted, &["h2"]).await.unwrap();
    let mut end = Vec::new();
    let _ = silent.read_to_end(&mut end).await;
    let (reason, age) = closed.lock().unwrap().remove(0);
    assert_eq!(reason, CloseReason::Idle);
    assert!(age >= 3 * LIMIT, "{age:?}");

    // A request is waited for, also by a drain, and no frame is put into the TLS.
    let stream = connect(addr, &trusted, &["h2"]).await.unwrap();
    let mut client = Http2::begin(stream, &[]).await;
    client.get(1, "/").await;
    assert_eq!(client.until(DATA, 1).await.payload, b"hello");
    client.get(3, "/slow").await;
    // The first one may still be in flight when its answer is here.
    while connections.snapshot(0, 1)[0].exchanges < 2 {
        tokio::time::sleep(LIMIT / 100).await;
    }
    assert_eq!(connections.snapshot(0, 1)[0].protocol, Protocol::Http2);
    let drain = tokio::spawn(connections.drain(20 * LIMIT));
    assert_eq!(client.until(DATA, 3).await.payload, b"waited");
    client.rest().await;
    let report = drain.await.unwrap();
    assert_eq!((report.graceful, report.forced), (1, 0), "{report}");
}
