//! The endpoint on a port and a thread of its own, over real sockets.
#![allow(clippy::print_stdout, reason = "how quick it is, with --nocapture")]
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Instant, sleep, timeout};
use tower::service_fn;
use tower_ops_admin::{Access, Admin, AdminRequestBody, AdminServer, Mount};
use tower_ops_testing::RawHttp1;

const LONG: Duration = Duration::from_secs(10);

fn start(mounts: impl IntoIterator<Item = Mount>) -> AdminServer {
    let mounts = mounts.into_iter();
    let builder = mounts.fold(Admin::builder("test"), |builder, mount| {
        builder.mount(mount.changes_need(Access::Public))
    });
    let any = (Ipv4Addr::LOCALHOST, 0);
    builder.build().unwrap().start(any).unwrap()
}

fn slow(path: &'static str, millis: u64) -> Mount {
    slow_counted(path, millis, &Arc::default())
}

/// As [`slow`], counting in `begun` how many requests have come.
fn slow_counted(path: &'static str, millis: u64, begun: &Arc<AtomicUsize>) -> Mount {
    let begun = Arc::clone(begun);
    let service = service_fn(move |_: Request<AdminRequestBody>| {
        begun.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(Duration::from_millis(millis)).await;
            Ok::<_, Infallible>(Response::new("slow".to_owned()))
        }
    });
    Mount::new(path, service)
}

async fn ask(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut client = RawHttp1::connect(addr).await?;
    client.send_request("GET", path, &[], "").await?;
    let head = client.read_head().await?;
    assert_eq!(head.headers["connection"], "close");
    let body = client.read_body(&head).await?.data;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn port_0_is_one_from_8080_to_9000_and_a_taken_one_is_an_error_that_says_so() {
    let (one, other) = (start([]), start([]));
    assert_ne!(one.addr().port(), other.addr().port());
    for endpoint in [&one, &other] {
        assert!((8080..=9000).contains(&endpoint.addr().port()));
        assert!(
            ask(endpoint.addr(), "/")
                .await
                .unwrap()
                .starts_with("test, up ")
        );
    }
    let admin = Admin::builder("test").build().unwrap();
    let error = admin.start(one.addr()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.contains(&one.addr().to_string()), "{text}");
    assert!(text.contains("choose another address"), "{text}");
}

#[tokio::test]
async fn the_port_is_free_when_it_is_dropped_or_closed() {
    for close in [true, false] {
        let endpoint = start([]);
        let addr = endpoint.addr();
        // One that sends nothing does not hold it up.
        let _silent = TcpStream::connect(addr).unwrap();
        let began = Instant::now();
        if close {
            endpoint.close().await;
        } else {
            drop(endpoint);
        }
        // Long before the limit of a connection that sends nothing.
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(TcpStream::connect(addr).is_err());
        assert!(TcpListener::bind(addr).is_ok());
    }
}

#[tokio::test]
async fn answers_that_are_being_made_at_the_end_get_a_second() {
    // Of this test alone: others ask for what is slow at the same time.
    let begun = Arc::default();
    let endpoint = start([
        slow_counted("/soon", 50, &begun),
        slow_counted("/late", 60_000, &begun),
    ]);
    let addr = endpoint.addr();
    let soon = tokio::spawn(async move { ask(addr, "/soon").await });
    let late = tokio::spawn(async move { ask(addr, "/late").await });
    while begun.load(Ordering::Relaxed) < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    endpoint.close().await;
    let took = began.elapsed();
    assert_eq!(soon.await.unwrap().unwrap(), "slow");
    assert!(late.await.unwrap().is_err());
    let about_one = Duration::from_millis(900)..LONG;
    assert!(about_one.contains(&took), "{took:?}");
}

/// How long 200 requests take, one after the other, the quickest first.
fn times(endpoint: &AdminServer) -> Vec<Duration> {
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let began = Instant::now();
            let mut client = TcpStream::connect(endpoint.addr()).unwrap();
            client
                .write_all(b"GET /slow HTTP/1.1\r\nhost: it\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            began.elapsed()
        })
        .collect();
    times.sort();
    times
}

#[test]
fn it_answers_as_quickly_while_the_application_is_stuck() {
    let application = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let endpoint = application.block_on(async { start([slow("/slow", 1)]) });
    let free = times(&endpoint);
    let (told, tell) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    for _ in 0..2 {
        let (told, released) = (told.clone(), Arc::clone(&released));
        application.spawn(async move {
            told.send(()).unwrap();
            // Blocks a worker, on purpose, until the sender is dropped.
            let _ = released.lock().unwrap().recv();
        });
    }
    for _ in 0..2 {
        tell.recv_timeout(LONG).unwrap();
    }
    let stuck = times(&endpoint);
    println!(
        "median {:?}, and {:?} while stuck; slowest of 200 {:?} and {:?}",
        free[100], stuck[100], free[199], stuck[199]
    );
    // The median against that of the same machine a moment ago: the slowest say what else runs.
    let limit = Duration::from_millis(50).max(5 * free[100]);
    assert!(stuck[100] < limit, "{:?} and {:?}", free[100], stuck[100]);
    drop(release);
    application.shutdown_timeout(LONG);
}

#[tokio::test]
async fn hostile_clients_cost_only_themselves() {
    let endpoint = start([slow("/slow", 1).max_body(10)]);
    let addr = endpoint.addr();

    let mut huge = RawHttp1::connect(addr).await.unwrap();
    let value = "x".repeat(1 << 20);
    // It may be refused before it has all been sent.
    let _ = huge
        .send_request("GET", "/", &[("x-huge", &value)], "")
        .await;
    if let Ok(head) = huge.read_head().await {
        assert_eq!(head.status, 431);
    }

    let mut long = RawHttp1::connect(addr).await.unwrap();
    let head = "POST /slow HTTP/1.1\r\nhost: it\r\ncontent-length: 99999999\r\n\r\n";
    long.send(head).await.unwrap();
    assert_eq!(long.read_head().await.unwrap().status, 413);

    // More than it takes at once: those beyond wait until the first ones are given up, after
    // their 10 s.
    let half: Vec<_> = (0..250)
        .map(|_| {
            let mut client = TcpStream::connect(addr).unwrap();
            client.write_all(b"GET / HT").unwrap();
            client
        })
        .collect();
    let began = Instant::now();
    assert!(ask(addr, "/").await.is_ok());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "there is room beside 250"
    );
    let more: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let asked = timeout(Duration::from_secs(20), ask(addr, "/"));
    asked.await.expect("the idle ones are given up").unwrap();
    drop((half, more));
}

/// Blocks a thread, the endpoint's own or one of its pool, until the sender is dropped.
fn blocked(path: &'static str, own: bool) -> (Mount, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (here, is_here) = mpsc::channel();
    let released = Arc::new(std::sync::Mutex::new(released));
    let service = service_fn(move |_: Request<AdminRequestBody>| {
        let (released, here) = (released.clone(), here.clone());
        let block = move || {
            here.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        };
        async move {
            if own {
                block();
            } else {
                tokio::task::spawn_blocking(block).await.unwrap();
            }
            Ok::<_, Infallible>(Response::new("at last".to_owned()))
        }
    });
    (Mount::new(path, service), release, is_here)
}

#[tokio::test]
async fn a_service_that_blocks_does_not_keep_the_end_from_coming() {
    for (own, by_drop) in [(true, true), (true, false), (false, true), (false, false)] {
        let (mount, release, is_here) = blocked("/blocked", own);
        let endpoint = start([mount]);
        let addr = endpoint.addr();
        let mut client = RawHttp1::connect(addr).await.unwrap();
        let request = client.send_request("GET", "/blocked", &[], "");
        request.await.unwrap();
        tokio::task::spawn_blocking(move || is_here.recv_timeout(LONG).unwrap())
            .await
            .unwrap();
        // Blocks until it is released, which comes last: the end cannot have waited for that.
        if by_drop {
            drop(endpoint);
        } else {
            timeout(LONG, endpoint.close()).await.unwrap();
        }
        drop(release);
    }
}

/// Never answers; says when it has begun, and when its future was dropped.
fn endless(path: &'static str) -> (Mount, mpsc::Receiver<()>, mpsc::Receiver<()>) {
    struct Dropped(mpsc::Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (here, is_here) = mpsc::channel();
    let (gone, is_gone) = mpsc::channel();
    let service = service_fn(move |_: Request<AdminRequestBody>| {
        let gone = Dropped(gone.clone());
        here.send(()).unwrap();
        async move {
            std::future::pending::<()>().await;
            drop(gone);
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    (Mount::new(path, service), is_here, is_gone)
}

#[test]
fn closing_needs_no_thread_of_the_blocking_pool_and_aborts_what_is_being_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (full, is_full) = mpsc::channel();
    runtime.spawn_blocking(move || {
        full.send(()).unwrap();
        let _ = released.recv();
    });
    is_full.recv_timeout(LONG).unwrap();
    for whole in [true, false] {
        let (mount, is_here, is_gone) = endless("/endless");
        let endpoint = start([mount]);
        let addr = endpoint.addr();
        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
            .write_all(b"GET /endless HTTP/1.1\r\nhost: it\r\n\r\n")
            .unwrap();
        is_here.recv_timeout(LONG).unwrap();
        let began = Instant::now();
        runtime.block_on(async {
            if whole {
                timeout(LONG, endpoint.close()).await.unwrap();
            } else {
                // Given up, and it ends all the same.
                let _ = timeout(Duration::ZERO, endpoint.close()).await;
            }
        });
        is_gone.recv_timeout(LONG).expect("the answer is aborted");
        assert!(
            began.elapsed() >= Duration::from_millis(900),
            "it had its second"
        );
        let read = client.read(&mut [0]);
        assert!(!matches!(read, Ok(1)), "there is no answer");
        while TcpStream::connect(addr).is_ok() {
            assert!(began.elapsed() < LONG, "the port is never free");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    drop(release);
}

#[tokio::test]
async fn a_mount_without_an_end_to_its_time_is_served() {
    for limit in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let endpoint = start([slow("/slow", 10).timeout(limit)]);
        assert_eq!(ask(endpoint.addr(), "/slow").await.unwrap(), "slow");
    }
}
