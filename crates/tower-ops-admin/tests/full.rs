//! Probes answer whatever happens: connections that send nothing, no descriptors left, long answers.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusBuilder;
use socket2::{Domain, Socket, Type};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::service_fn;
use tower_ops_admin::{Access, Admin, AdminRequestBody, AdminServer, Mount, Secret, Tokens};

/// As long as a kubelet waits.
const PROBE: Duration = Duration::from_secs(1);

const LONG: Duration = Duration::from_secs(20);

fn ping() -> Mount {
    let service = service_fn(async |_: Request<AdminRequestBody>| {
        Ok::<_, Infallible>(Response::new("pong".to_owned()))
    });
    Mount::new("/ping", service).access(Access::Public).probe()
}

fn start(mounts: impl IntoIterator<Item = Mount>) -> AdminServer {
    let builder = Admin::builder("test").mount(ping());
    let builder = mounts
        .into_iter()
        .fold(builder, |builder, mount| builder.mount(mount));
    let admin = builder.build().unwrap();
    admin.start((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// One request on a connection of its own: the status, or what went wrong within the time.
fn ask(addr: SocketAddr, path: &str, within: Duration) -> Result<u16, String> {
    let began = Instant::now();
    let mut client = TcpStream::connect_timeout(&addr, within).map_err(|it| it.to_string())?;
    client.set_read_timeout(Some(within)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    client
        .write_all(request.as_bytes())
        .map_err(|it| it.to_string())?;
    let mut answer = Vec::new();
    client
        .read_to_end(&mut answer)
        .map_err(|it| it.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    match status {
        Some(status) if began.elapsed() <= within => Ok(status),
        _ => Err(format!("{:?}: {:.60}", began.elapsed(), answer)),
    }
}

fn probe(addr: SocketAddr, times: usize) {
    for nth in 0..times {
        assert_eq!(ask(addr, "/ping", PROBE), Ok(200), "probe {nth}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn connections_that_send_no_whole_head_give_way_the_oldest_first() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let admin = Admin::builder("test")
        .mount(ping())
        .recorder(Arc::new(recorder));
    let endpoint = admin
        .build()
        .unwrap()
        .start((Ipv4Addr::LOCALHOST, 0))
        .unwrap();
    let addr = endpoint.addr();
    let connect = |begun: &str| {
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(begun.as_bytes()).unwrap();
        client
    };
    let first = connect("");
    let mut others = Vec::new();
    for nth in 0..600 {
        others.push(connect(if nth % 2 == 0 { "" } else { "GET /ping HT" }));
        if nth % 20 == 0 {
            probe(addr, 1);
        }
    }
    probe(addr, 50);
    // The oldest is closed, and the newest still takes its request.
    first
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let closed = (&first).read(&mut [0; 1]);
    assert!(
        matches!(closed, Ok(0))
            || closed.is_err_and(|it| it.kind() != std::io::ErrorKind::WouldBlock)
    );
    let mut last = connect("GET /ping HTTP/1.0\r\n");
    probe(addr, 5);
    last.write_all(b"\r\n").unwrap();
    last.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("pong"), "{answer}");
    let metrics = handle.render();
    let evicted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("admin_connections_evicted_total "))
        .expect("it is counted")
        .parse::<usize>()
        .unwrap();
    assert!((340..=700).contains(&evicted), "{metrics}");
    drop(others);
}

#[test]
fn a_connection_without_a_first_byte_ends_before_the_time_for_a_head() {
    let endpoint = start([]);
    let mut silent = TcpStream::connect(endpoint.addr()).unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(8)))
        .unwrap();
    let began = Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[test]
fn long_answers_are_made_beside_the_thread_that_answers_probes() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let slow = {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        service_fn(move |_: Request<AdminRequestBody>| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            // As rendering does: it does not let others have their turn.
            thread::sleep(Duration::from_millis(100));
            running.fetch_sub(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, Infallible>(Response::new("x".repeat(1 << 20))))
        })
    };
    let endpoint = start([Mount::new("/page", slow)]);
    let addr = endpoint.addr();
    let askers: Vec<_> = (0..100)
        .map(|_| thread::spawn(move || ask(addr, "/page", Duration::from_secs(30))))
        .collect();
    probe(addr, 100);
    let answers: Vec<_> = askers
        .into_iter()
        .map(|asker| asker.join().unwrap())
        .collect();
    let with = |status| answers.iter().filter(|it| **it == Ok(status)).count();
    assert_eq!(with(200) + with(503), 100, "{answers:?}");
    assert!(with(200) >= 20 && with(503) > 0, "{answers:?}");
    assert!(most.load(Ordering::SeqCst) <= 2, "a few at once");
}

#[test]
fn slow_readers_of_long_answers_give_way_the_slowest_first() {
    let page = bytes::Bytes::from(vec![b'x'; 16 << 20]);
    let page = service_fn(move |_: Request<AdminRequestBody>| {
        let body = http_body_util::Full::new(page.clone());
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let admin = Admin::builder("test")
        .mount(ping())
        .recorder(Arc::new(recorder));
    let admin = admin.mount(Mount::new("/page", page)).build().unwrap();
    let endpoint = admin.start((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = endpoint.addr();
    let mut readers: Vec<_> = (0..300)
        .map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_recv_buffer_size(4096).unwrap();
            client.connect(&addr.into()).unwrap();
            let mut client = TcpStream::from(client);
            client.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
            client.set_read_timeout(Some(LONG)).unwrap();
            // Its answer has been made, and is no longer among those that are.
            let first = client.read(&mut [0; 1]);
            assert!(matches!(first, Ok(1)), "{first:?}");
            client
        })
        .collect();
    probe(addr, 50);
    let metrics = handle.render();
    let evicted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("admin_connections_evicted_total "))
        .expect("it is counted");
    // 128 are left, and a probe that has not gone away yet takes the place of one more.
    let evicted: usize = evicted.parse().unwrap();
    assert!((172..=222).contains(&evicted), "{metrics}");
    // The first one was closed in the midst of its answer, and the last one gets all of it.
    let mut answer = Vec::new();
    let _ = readers[0].read_to_end(&mut answer);
    assert!(answer.len() < 16 << 20, "{}", answer.len());
    answer.clear();
    readers[299].read_to_end(&mut answer).unwrap();
    assert!(answer.len() > 16 << 20, "{}", answer.len());
}

#[test]
fn slow_readers_give_way_to_answers_that_are_being_made_for_long() {
    const HANGING: usize = 200;
    let begun = Arc::new(AtomicUsize::new(0));
    let hangs = {
        let begun = Arc::clone(&begun);
        service_fn(move |_: Request<AdminRequestBody>| {
            begun.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<Response<String>, Infallible>>()
        })
    };
    let page = bytes::Bytes::from(vec![b'x'; 16 << 20]);
    let page = service_fn(move |_: Request<AdminRequestBody>| {
        let body = http_body_util::Full::new(page.clone());
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    });
    // Of probes there may be as many as there are connections.
    let hangs = Mount::new("/hangs", hangs).access(Access::Public).probe();
    let hangs = hangs.timeout(Duration::from_secs(600));
    let endpoint = start([hangs, Mount::new("/page", page)]);
    let addr = endpoint.addr();
    let connect = |path: &str| {
        let mut client = TcpStream::connect(addr).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    };
    let hanging: Vec<_> = (0..HANGING).map(|_| connect("/hangs")).collect();
    let began = Instant::now();
    while begun.load(Ordering::SeqCst) < HANGING {
        assert!(began.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
    // With these it is full, and there are fewer of them than are read at once.
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let mut client = connect("/page");
            let first = client.read(&mut [0; 1]);
            assert!(matches!(first, Ok(1)), "{first:?}");
            client
        })
        .collect();
    probe(addr, 20);
    drop((hanging, readers));
}

#[test]
fn an_answer_that_is_being_made_is_not_given_up_for_others() {
    const ASKERS: usize = 30;
    let (begun, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let slow = {
        let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
        service_fn(move |_: Request<AdminRequestBody>| {
            let release = Arc::clone(&release);
            begun.fetch_add(1, Ordering::SeqCst);
            async move {
                let _one = release.acquire().await;
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        })
    };
    let endpoint = start([Mount::new("/slow", slow)]);
    let addr = endpoint.addr();
    let askers: Vec<_> = (0..ASKERS)
        .map(|_| thread::spawn(move || ask(addr, "/slow", LONG)))
        .collect();
    let began = Instant::now();
    while begun.load(Ordering::SeqCst) < ASKERS {
        assert!(began.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
    let silent: Vec<_> = (0..600)
        .map(|_| TcpStream::connect(addr).unwrap())
        .collect();
    probe(addr, 20);
    release.add_permits(ASKERS);
    for asker in askers {
        assert_eq!(asker.join().unwrap(), Ok(200));
    }
    drop(silent);
}

#[test]
fn what_breaks_off_beside_the_thread_is_no_whole_answer() {
    let endpoint = start([
        Mount::new(
            "/panics",
            service_fn(async |_: Request<AdminRequestBody>| {
                if true {
                    panic!("on purpose");
                }
                Ok::<_, Infallible>(Response::new(String::new()))
            }),
        ),
        Mount::new(
            "/breaks",
            service_fn(async |_: Request<AdminRequestBody>| {
                Ok::<_, Infallible>(Response::new(Breaks(0)))
            }),
        ),
    ]);
    let addr = endpoint.addr();
    assert_eq!(ask(addr, "/panics", PROBE), Ok(500));
    let mut client = TcpStream::connect(addr).unwrap();
    client
        .write_all(b"GET /breaks HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    probe(addr, 3);
}

#[test]
#[cfg(unix)]
fn a_file_of_tokens_that_hangs_keeps_nobody_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let (current, next) = ("the-current-token", "the-token-after-it");
    std::fs::write(&path, current).unwrap();
    let page = service_fn(async |_: Request<AdminRequestBody>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let tokens = Tokens::builder().read(Secret::from_file(&path)).build();
    let admin = Admin::builder("test").tokens(tokens.unwrap()).mount(ping());
    let admin = admin.mount(Mount::new("/page", page).access(Access::Read));
    let endpoint = admin.build().unwrap().start((Ipv4Addr::LOCALHOST, 0));
    let endpoint = endpoint.unwrap();
    let addr = endpoint.addr();
    let ask_with = |token: &str| {
        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        let head = format!("GET /page HTTP/1.0\r\nauthorization: Bearer {token}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
            .get(9..12)
            .and_then(|status| status.parse::<u16>().ok())
    };
    assert_eq!(ask_with(next), Some(401));

    // Whoever opens this for reading waits for somebody who writes.
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    // It is read again after ten seconds.
    thread::sleep(Duration::from_millis(10_100));
    for _ in 0..20 {
        assert_eq!(ask_with(current), Some(200), "the tokens stay as they were");
        probe(addr, 1);
    }
    std::fs::write(&path, next).unwrap();
    let began = Instant::now();
    while ask_with(next) != Some(200) {
        assert!(began.elapsed() < LONG, "it is never taken up");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ask_with(current), Some(401));
}

/// A body that panics in its midst.
struct Breaks(usize);

impl http_body::Body for Breaks {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        self.0 += 1;
        assert!(self.0 == 1, "on purpose");
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data("some".into()))))
    }
}
