//! Durations that mean "for ever" are limits that are never reached, in every setting
//! and function.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tower_ops_connections::{CloseReason, Connections, ConnectionsBuilder, Peer};

const SECOND: Duration = Duration::from_secs(1);

const LONG: [Duration; 6] = [
    Duration::MAX,
    Duration::from_secs(u64::MAX),
    Duration::from_secs(i64::MAX as u64),
    Duration::from_secs(u64::MAX / 1_000_000),
    Duration::from_micros(u64::MAX),
    Duration::from_millis(u64::MAX / 2),
];

type Setting<B> = (&'static str, fn(B, Duration) -> B);

const SETTINGS: [Setting<ConnectionsBuilder>; 13] = [
    ("first_byte_timeout", |b, it| b.first_byte_timeout(it)),
    ("header_timeout", |b, it| b.header_timeout(it)),
    ("idle_timeout", |b, it| b.idle_timeout(it)),
    ("stall_timeout", |b, it| b.stall_timeout(it)),
    ("max_age", |b, it| b.max_age(it)),
    ("max_age, spread", |b, it| b.max_age(it).max_age_jitter(1.0)),
    ("grace_timeout", |b, it| b.grace_timeout(it)),
    ("linger", |b, it| b.linger(it)),
    ("tcp_keep_alive", |b, it| b.tcp_keep_alive(it)),
    ("tcp_keep_alive_interval", |b, it| {
        b.tcp_keep_alive_interval(it)
    }),
    ("tcp_user_timeout", |b, it| b.tcp_user_timeout(it)),
    ("http2_ping_interval", |b, it| b.http2_ping_interval(it)),
    ("http2_ping_timeout", |b, it| b.http2_ping_timeout(it)),
];

#[tokio::test(start_paused = true)]
async fn no_setting_keeps_the_others_from_being_kept() {
    for long in LONG {
        for (name, set) in SETTINGS {
            let builder = Connections::builder()
                .first_byte_timeout(50 * SECOND)
                .idle_timeout(10 * SECOND)
                .check_interval(SECOND);
            let connections = set(builder, long).build().unwrap();
            let (server, _client) = duplex(8);
            let io = connections.accept(server, Peer::Unknown).await.unwrap();
            let closing = io.connection().closing();
            if name == "idle_timeout" {
                let reason = timeout(60 * SECOND, closing).await.expect(name);
                assert_eq!(reason, CloseReason::FirstByteTimeout, "{name} {long:?}");
            } else {
                // Only its time brings it about, and the reaper has to be alive.
                sleep(11 * SECOND).await;
                assert_eq!(
                    io.connection().close_reason(),
                    Some(CloseReason::Idle),
                    "{name} {long:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_interval_for_ever_looks_once_a_day() {
    for long in LONG {
        let connections = Connections::builder().check_interval(long).build().unwrap();
        let (server, _client) = duplex(8);
        let io = connections.accept(server, Peer::Unknown).await.unwrap();
        sleep(3 * 24 * 3_600 * SECOND).await;
        assert!(io.connection().close_reason().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_may_last_for_ever() {
    for long in LONG {
        let connections = Connections::builder()
            .grace_timeout(long)
            .linger(long)
            .build()
            .unwrap();
        let (server, client) = duplex(8);
        let mut io = connections.accept(server, Peer::Unknown).await.unwrap();
        let held = io.connection().busy();
        let drain = tokio::spawn(connections.drain(long));
        let early = timeout(1_000 * SECOND, io.read(&mut [0])).await;
        assert!(early.is_err(), "{long:?}");
        drop((held, client));
        assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
        drop(io);
        assert_eq!(drain.await.unwrap().graceful, 1);
    }
}

#[tokio::test]
async fn a_server_may_wait_for_ever() {
    for long in LONG {
        let mut builder = Connections::builder().linger(Duration::ZERO);
        for (name, set) in SETTINGS {
            if !["linger", "max_age"].contains(&name) {
                builder = set(builder, long);
            }
        }
        let connections = builder.build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = connections.server().drain_timeout(long);
        #[cfg(feature = "tls")]
        let server = server.handshake_timeout(long);
        let app = Router::new().route("/", get(async || "hello"));
        let serving = tokio::spawn(async move {
            server
                .serve(listener, app, async { drop(stopped.await) })
                .await
        });
        for request in [
            &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
              \0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01x",
        ] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            while !answer.windows(5).any(|it| it == b"hello") {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{long:?}");
            }
        }
        stop.send(()).unwrap();
        let report = timeout(60 * SECOND, serving).await.unwrap().unwrap();
        assert_eq!(report.forced, 0, "{long:?}");
    }
}
