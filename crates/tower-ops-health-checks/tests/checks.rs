//! The ready-made checks, against servers of our own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
#![cfg(all(
    feature = "http",
    feature = "tcp",
    feature = "dns",
    feature = "tls",
    feature = "disk",
    feature = "memory",
    feature = "file",
    feature = "runtime",
    feature = "sqlx",
    feature = "redis"
))]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Redirect;
use axum::routing::{any, get};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tower_ops_health::{Check, Health, Report, Status};
use tower_ops_health_checks::{
    Disk, Dns, FileAge, Http, Memory, Pool, QueueDepth, Redis, RuntimeLag, Tcp, Tls,
};

/// Runs a check once.
async fn run(check: Check) -> Report {
    let name = check.name().to_owned();
    let health = Health::builder().check(check).build().unwrap();
    let mut changes = health.changes();
    tokio::spawn(health.run());
    let change = changes.next().await.unwrap();
    assert_eq!(*change.report.name, *name);
    change.report
}

fn error(report: &Report) -> &str {
    assert_eq!(report.status, Status::Down, "{report:?}");
    report.last.as_ref().unwrap().error.as_deref().unwrap()
}

fn value(report: &Report) -> f64 {
    report.last.as_ref().unwrap().value.as_ref().unwrap().value
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    tower_ops_testing::free_addr()
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{addr}")
}

#[tokio::test]
async fn http_judges_status_and_body() {
    let seen = |method: Method, headers: HeaderMap, body: String| async move {
        let header = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let good = method == Method::POST
            && header("x-key").as_deref() == Some("k")
            && header("host").is_some_and(|host| host.starts_with("127.0.0.1:"))
            && header("user-agent").is_some_and(|agent| agent.starts_with("tower-ops-health/"))
            && body == "ping";
        if good { "pong" } else { "no" }
    };
    let base = serve(
        Router::new()
            .route("/ok", get(|| async { "all is well" }))
            .route("/teapot", get(|| async { StatusCode::IM_A_TEAPOT }))
            .route("/long", get(|| async { "x".repeat(100_000) + "end" }))
            .route("/seen", any(seen))
            .route("/there", get(|| async { Redirect::to("/ok") }))
            .route("/loop", get(|| async { Redirect::to("/loop") }))
            .route("/hangs", get(std::future::pending::<()>)),
    )
    .await;
    let url = |path: &str| format!("{base}{path}");
    let http = |path: &str| Http::get(url(path));

    let report = run(http("/ok").into_check("http")).await;
    assert_eq!(report.status, Status::Ok);
    assert_eq!(report.last.unwrap().detail.unwrap(), "200 OK");
    assert_eq!(
        error(&run(http("/no").into_check("http")).await),
        "the status is 404 Not Found"
    );
    assert_eq!(
        run(http("/teapot").expect_status(400..500).into_check("http"))
            .await
            .status,
        Status::Ok
    );
    assert_eq!(
        run(http("/teapot").expect_status(418..=418).into_check("http"))
            .await
            .status,
        Status::Ok
    );
    error(&run(http("/ok").expect_status(418..=418).into_check("http")).await);

    assert_eq!(
        run(http("/ok").expect_body("is well").into_check("http"))
            .await
            .status,
        Status::Ok
    );
    let wrong = run(http("/ok").expect_body("is bad").into_check("http")).await;
    assert_eq!(
        error(&wrong),
        "the first 11 bytes are not what was expected"
    );
    let far = run(http("/long").expect_body("end").into_check("http")).await;
    assert_eq!(
        error(&far),
        "the first 65536 bytes are not what was expected"
    );
    let far = run(http("/long")
        .expect_body("end")
        .max_body(100_003)
        .into_check("http"))
    .await;
    assert_eq!(far.status, Status::Ok);

    let posted = http("/seen")
        .method("POST")
        .header("x-key", "k")
        .body("ping");
    assert_eq!(
        run(posted.expect_body("pong").into_check("http"))
            .await
            .status,
        Status::Ok
    );

    error(&run(http("/there").into_check("http")).await);
    let followed = http("/there").max_redirects(1).expect_body("all is well");
    assert_eq!(run(followed.into_check("http")).await.status, Status::Ok);
    assert_eq!(
        error(&run(http("/loop").max_redirects(3).into_check("http")).await),
        "more than 3 redirects"
    );

    let brief = |check: Check| check.timeout(Duration::from_millis(100));
    assert_eq!(
        error(&run(brief(http("/hangs").into_check("http"))).await),
        "no answer within 100ms"
    );
    let refused = Http::get(format!("http://{}/", nobody())).into_check("http");
    assert!(error(&run(refused).await).contains("refused"));
}

#[tokio::test]
async fn http_keeps_headers_from_strangers_and_https_from_http() {
    let received = |headers: HeaderMap| async move {
        if headers.contains_key("authorization") {
            "a secret"
        } else {
            "nothing"
        }
    };
    let other = serve(Router::new().route("/", get(received))).await;
    let base = serve(Router::new().route("/", get(|| async move { Redirect::to(&other) }))).await;
    let check = Http::get(base)
        .header("authorization", "Bearer x")
        .max_redirects(1);
    assert_eq!(
        run(check.expect_body("nothing").into_check("http"))
            .await
            .status,
        Status::Ok
    );
}

#[tokio::test]
async fn tcp_connects_and_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = [0; 4];
                if stream.read_exact(&mut asked).await.is_ok() && &asked == b"PING" {
                    let _ = stream.write_all(b"+PO").await;
                    let _ = stream.write_all(b"NG\r\n").await;
                }
            });
        }
    });
    assert_eq!(
        run(Tcp::new(&addr).into_check("tcp")).await.status,
        Status::Ok
    );
    let ping = || Tcp::new(&addr).send("PING");
    assert_eq!(
        run(ping().expect("+PONG\r\n").into_check("tcp"))
            .await
            .status,
        Status::Ok
    );
    let wrong = run(ping().expect("+PANG").into_check("tcp")).await;
    assert_eq!(
        error(&wrong),
        "the connection ended before what was expected came"
    );
    assert!(
        error(&run(Tcp::new(nobody().to_string()).into_check("tcp")).await).contains("refused")
    );
}

/// Answers each question about `db.test` with 10.0.0.7, and others with "no such name".
async fn dns_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 512];
        loop {
            let (length, peer) = socket.recv_from(&mut packet).await.unwrap();
            let end = 12
                + packet[12..length]
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap()
                + 5;
            let known = packet[12..end].starts_with(b"\x02db\x04test\x00");
            let a = packet[end - 4..end] == [0, 1, 0, 1];
            let mut answer = packet[..end].to_vec();
            answer[2] = 0x81;
            answer[3] = if known { 0x80 } else { 0x83 };
            answer[6..12].copy_from_slice(&[0, u8::from(known && a), 0, 0, 0, 0]);
            if known && a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 7]);
            }
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    addr
}

fn resolver(addr: SocketAddr) -> TokioResolver {
    let mut server = NameServerConfig::udp(addr.ip());
    server.connections[0].port = addr.port();
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, Default::default());
    builder.options_mut().attempts = 0;
    builder.build().unwrap()
}

#[tokio::test]
async fn dns_resolves() {
    let addr = dns_server().await;
    let dns = |name: &str| Dns::new(name).resolver(resolver(addr));
    let found = run(dns("db.test.").into_check("dns")).await;
    assert_eq!((found.status, value(&found)), (Status::Ok, 1.0));
    let expected = dns("db.test.").expect("10.0.0.7".parse().unwrap());
    assert_eq!(run(expected.into_check("dns")).await.status, Status::Ok);
    let other = dns("db.test.").expect("10.0.0.8".parse().unwrap());
    let other = run(other.into_check("dns")).await;
    assert_eq!(error(&other), "10.0.0.8 is not among the addresses");
    error(&run(dns("no.test.").into_check("dns")).await);
    // A server that does not answer.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = Dns::new("db.test.").resolver(resolver(silent.local_addr().unwrap()));
    let silent = silent.into_check("dns").timeout(Duration::from_millis(200));
    error(&run(silent).await);
}

struct Authority {
    certificate: CertificateDer<'static>,
    key: rcgen::KeyPair,
}

/// A certificate for 127.0.0.1 and localhost that is valid for so long.
fn certificate(valid: Duration) -> Authority {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(1_000_000)).into();
    params.not_after = (now + valid).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Authority { certificate, key }
}

/// A TLS server which answers whatever it is sent with an empty 200.
async fn tls_server(authority: &Authority) -> SocketAddr {
    let key = PrivateKeyDer::try_from(authority.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![authority.certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if stream
                    .read(&mut [0; 1_024])
                    .await
                    .is_ok_and(|read| read > 0)
                {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            });
        }
    });
    addr
}

fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn tls_measures_how_long_a_certificate_is_valid() {
    for (valid, status) in [(DAY * 22, Status::Ok), (DAY * 20, Status::Degraded)] {
        let authority = certificate(valid);
        let addr = tls_server(&authority).await;
        let tls = Tls::new(addr.to_string()).config(trusting(&authority));
        let report = run(tls.into_check("tls")).await;
        assert_eq!(report.status, status, "{report:?}");
        let days = valid.as_secs_f64() / DAY.as_secs_f64();
        assert!((value(&report) - days).abs() < 0.2, "{report:?}");
        let named = Tls::new(addr.to_string()).server_name("other.test");
        error(&run(named.config(trusting(&authority)).into_check("tls")).await);
    }
    // One whom nobody vouches for, and one that is over.
    let (one, another) = (certificate(DAY), certificate(DAY));
    let addr = tls_server(&one).await;
    let stranger = Tls::new(addr.to_string()).config(trusting(&another));
    error(&run(stranger.into_check("tls")).await);
    let stranger = Tls::new(addr.to_string());
    error(&run(stranger.into_check("tls")).await);
    let nobody = Tls::new(nobody().to_string()).config(trusting(&one));
    error(&run(nobody.into_check("tls")).await);
}

#[tokio::test]
async fn an_expired_certificate_is_down() {
    let names = vec!["127.0.0.1".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let now = SystemTime::now();
    params.not_before = (now - DAY * 2).into();
    params.not_after = (now - DAY).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let authority = Authority { certificate, key };
    let addr = tls_server(&authority).await;
    let tls = Tls::new(addr.to_string()).config(trusting(&authority));
    let report = run(tls.into_check("tls")).await;
    assert!(error(&report).contains("expired"), "{report:?}");
}

#[tokio::test]
async fn http_over_tls() {
    let authority = certificate(DAY);
    let addr = tls_server(&authority).await;
    let url = format!("https://{addr}/");
    let trusted = Http::get(&url).tls(trusting(&authority));
    assert_eq!(run(trusted.into_check("http")).await.status, Status::Ok);
    error(
        &run(Http::get(&url)
            .tls(trusting(&certificate(DAY)))
            .into_check("http"))
        .await,
    );
    // Not down to plain HTTP.
    error(&run(Http::get(format!("http://{addr}/")).into_check("http")).await);
}

#[tokio::test]
async fn disk_memory_and_runtime_of_this_machine() {
    let report = run(Disk::new("/").degraded_at(1.0).into_check("disk")).await;
    assert!(
        (0.0..=100.0).contains(&value(&report)) && value(&report) > 0.0,
        "{report:?}"
    );
    let full = run(Disk::new("/")
        .degraded_at(0.0001)
        .down_at(0.0002)
        .into_check("disk"))
    .await;
    assert!(error(&full).contains("MiB free"));
    let missing = run(Disk::new("/no/such/path").into_check("disk")).await;
    assert!(error(&missing).contains("No such file"));

    let report = run(Memory::new().degraded_at(1.0).into_check("memory")).await;
    assert!(
        (0.0..100.0).contains(&value(&report)) && value(&report) > 0.0,
        "{report:?}"
    );
    let full = run(Memory::new()
        .degraded_at(0.0001)
        .down_at(0.0002)
        .into_check("memory"))
    .await;
    assert!(error(&full).contains(" MiB of the "));

    let report = run(RuntimeLag::new()
        .degraded_after(Duration::from_secs(5))
        .into_check("lag"))
    .await;
    assert_eq!(report.status, Status::Ok);
    assert!(value(&report) < 5_000.0);
}

#[tokio::test]
async fn a_file_gets_old() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    let check = || {
        let hour = Duration::from_secs(3_600);
        FileAge::new(&path)
            .degraded_after(hour)
            .down_after(hour * 2)
            .into_check("backup")
    };
    assert!(error(&run(check()).await).contains("No such file"));
    std::fs::write(&path, "").unwrap();
    for (age, status) in [
        (0, Status::Ok),
        (3_700, Status::Degraded),
        (7_300, Status::Down),
    ] {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age))
            .unwrap();
        let report = run(check()).await;
        assert_eq!(report.status, status);
        assert!((value(&report) - age as f64).abs() < 5.0);
    }
}

#[tokio::test]
async fn a_queue_gets_long() {
    for (depth, status) in [(9, Status::Ok), (10, Status::Degraded), (20, Status::Down)] {
        let queue = QueueDepth::new(move || depth).degraded_at(10).down_at(20);
        let report = run(queue.into_check("queue")).await;
        assert_eq!((report.status, value(&report)), (status, depth as f64));
    }
    let queue = QueueDepth::from_async(|| async { Err::<u64, _>("unreachable") }).down_at(1);
    assert_eq!(error(&run(queue.into_check("queue")).await), "unreachable");
}

#[tokio::test]
async fn a_pool_of_sqlite_answers_and_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let options = sqlx::pool::PoolOptions::<sqlx::Sqlite>::new().max_connections(2);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    let check = Pool::new(&pool).into_check("db").critical();
    let check = check
        .period(Duration::from_millis(50))
        .timeout(Duration::from_millis(50));
    let health = Health::builder()
        .check(check)
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    let mut changes = health.changes();
    tokio::spawn(health.run());
    assert_eq!(changes.next().await.unwrap().to, Status::Ok);
    let text = handle.render();
    let help = "# HELP db_pool_connections Connections of a database pool by state";
    assert!(text.contains(help), "{text}");
    for line in ["state=\"idle\"} 1", "state=\"used\"} 0", "state=\"max\"} 2"] {
        let line = format!("db_pool_connections{{name=\"db\",{line}");
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    // All are in use: no request would get one either.
    let used = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    assert_eq!(changes.next().await.unwrap().to, Status::Down);
    let text = handle.render();
    assert!(
        text.contains("db_pool_connections{name=\"db\",state=\"used\"} 2"),
        "{text}"
    );
    drop(used);
    assert_eq!(changes.next().await.unwrap().to, Status::Ok);
    pool.close().await;
    let closed = changes.next().await.unwrap();
    assert!(error(&closed.report).contains("closed pool"), "{closed:?}");
}

#[test]
fn problems_are_returned_with_all_others() {
    let hour = Duration::from_secs(3_600);
    let client = redis::Client::open("redis://127.0.0.1:1/").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let lazy =
        redis::aio::ConnectionManager::new_lazy_with_config(client, Default::default()).unwrap();
    let bad: Vec<(Check, &str, &str)> = vec![
        (
            Http::get("ftp://a/").into_check("c"),
            "url:",
            "http:// or https://",
        ),
        (
            Http::get("/ready").into_check("c"),
            "url:",
            "http:// or https://",
        ),
        (Http::get("http://").into_check("c"), "url:", "is not one"),
        (
            Http::get("http://a:0/").into_check("c"),
            "url:",
            "port from 1 to 65535",
        ),
        (
            Http::get("http://a:70000/").into_check("c"),
            "url:",
            "port from 1 to 65535",
        ),
        (
            Http::get("http://me:pass@a/").into_check("c"),
            "url:",
            "belongs into a header",
        ),
        (
            Http::get("http://a/").method("BAD METHOD").into_check("c"),
            "method:",
            "BAD METHOD",
        ),
        (
            Http::get("http://a/").method("CONNECT").into_check("c"),
            "method:",
            "CONNECT",
        ),
        (
            Http::get("http://a/").header("a b", "c").into_check("c"),
            "header:",
            "a b",
        ),
        (
            Http::get("http://a/")
                .expect_status(600..=700)
                .into_check("c"),
            "expect_status:",
            "600 to 700",
        ),
        (
            Http::get("http://a/").max_body(0).into_check("c"),
            "max_body: 0",
            "between",
        ),
        (
            Http::get("http://a/")
                .expect_body("abc")
                .max_body(2)
                .into_check("c"),
            "expect_body:",
            "2 bytes",
        ),
        (
            Http::get("http://a/").max_redirects(99).into_check("c"),
            "max_redirects: 99",
            "10",
        ),
        (Tcp::new("localhost").into_check("c"), "address:", "a port"),
        (
            Tcp::new("localhost:0").into_check("c"),
            "address:",
            "1 to 65535",
        ),
        (Tcp::new("::1:80").into_check("c"), "address:", "a host"),
        (
            Tls::new("localhost:x").into_check("c"),
            "address:",
            "a port",
        ),
        (
            Tls::new("a:1").server_name("a b").into_check("c"),
            "server_name:",
            "a b",
        ),
        (Dns::new("").into_check("c"), "name:", "host's name"),
        (Disk::new("").into_check("c"), "path:", "empty"),
        (
            Disk::new("/").degraded_at(1.5).into_check("c"),
            "degraded_at, down_at: 1.5",
            "more than 1",
        ),
        (
            Disk::new("/").degraded_at(0.9).down_at(0.5).into_check("c"),
            "degraded_at: 90",
            "50",
        ),
        (
            Memory::new().degraded_at(f64::NAN).into_check("c"),
            "degraded_at:",
            "above 0",
        ),
        (
            FileAge::new("/x").into_check("c"),
            "degraded_after:",
            "neither",
        ),
        (
            FileAge::new("").down_after(hour).into_check("c"),
            "path:",
            "empty",
        ),
        (
            QueueDepth::new(|| 0).into_check("c"),
            "degraded_at:",
            "neither",
        ),
        (
            QueueDepth::new(|| 0).degraded_at(0).into_check("c"),
            "degraded_at: 0",
            "above 0",
        ),
        (
            Redis::new(lazy.clone()).degraded_at(5).into_check("c"),
            "degraded_at, down_at:",
            "no list",
        ),
        (
            Redis::new(lazy.clone()).list("").into_check("c"),
            "list:",
            "empty",
        ),
        (
            Redis::new(lazy).list("jobs").into_check("c"),
            "degraded_at:",
            "neither",
        ),
    ];
    for (check, begins, contains) in bad {
        let error = Health::builder().check(check).build().unwrap_err();
        let [problem] = error.problems() else {
            panic!("{begins}: {error}");
        };
        let problem = problem.strip_prefix("check \"c\": ").unwrap();
        assert!(
            problem.starts_with(begins) && problem.contains(contains),
            "{problem}"
        );
    }
    // A secret that is not valid is not quoted.
    let secret = Http::get("http://a/")
        .header("authorization", "s3cret\n")
        .into_check("c");
    let error = Health::builder()
        .check(secret)
        .build()
        .unwrap_err()
        .to_string();
    assert!(!error.contains("s3cret"), "{error}");
    // All problems of one check, and of another.
    let http = Http::get("ftp://a/")
        .method("")
        .max_body(0)
        .into_check("a")
        .failure_threshold(0);
    let disk = Disk::new("").degraded_at(2.0).into_check("b");
    let error = Health::builder()
        .check(http)
        .check(disk)
        .build()
        .unwrap_err();
    assert_eq!(error.problems().len(), 6, "{error}");
}
