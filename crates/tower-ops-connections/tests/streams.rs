//! The lives of HTTP/2 streams as the wire shows them, on every stack: what is in
//! use, what a client does not read, and what a drain must not lose.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tower_ops_connections::{
    CloseReason, ConnectionEvent, Connections, ConnectionsBuilder, Tracked, Upgraded,
};

#[path = "support/frames.rs"]
mod frames;
#[path = "support/stacks.rs"]
mod stacks;
use frames::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, PING, PRIORITY, RST_STREAM,
    WINDOW_UPDATE, frame, get_block, initial_window,
};
use stacks::{Stack, app};

const MILLI: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(10);

type Reasons = Arc<Mutex<Vec<CloseReason>>>;

/// Connections, and why they ended.
fn connections(
    set: impl FnOnce(ConnectionsBuilder) -> ConnectionsBuilder,
) -> (Connections, Reasons) {
    let reasons = Reasons::default();
    let log = Arc::clone(&reasons);
    let builder = Connections::builder()
        .grace_timeout(300 * MILLI)
        .check_interval(50 * MILLI)
        .on_event(move |event| {
            if let ConnectionEvent::Closed { reason, .. } = event {
                log.lock().unwrap().push(*reason);
            }
        });
    (set(builder).build().unwrap(), reasons)
}

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        sleep(5 * MILLI).await;
    }
}

fn in_flight(connections: &Connections) -> u32 {
    connections
        .snapshot(0, 9)
        .iter()
        .map(|it| it.in_flight)
        .sum()
}

/// Says "hi" on the WebSocket of that stream, and waits for the echo.
async fn say_hi(client: &mut Http2, stream: u32) {
    // Text, two bytes, masked with zeros.
    let hi = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    client.send(DATA, 0, stream, &hi).await;
    let back = client.until(DATA, stream).await;
    assert_eq!(back.payload, [0x81, 2, b'h', b'i']);
}

fn tunnelling() -> impl Iterator<Item = Stack> {
    Stack::ALL.into_iter().filter(|stack| stack.upgrades())
}

async fn each_stack<F: Future<Output = ()> + Send + 'static>(
    stacks: impl IntoIterator<Item = Stack>,
    run: impl Fn(Stack) -> F,
) {
    let cases: Vec<_> = stacks
        .into_iter()
        .map(|stack| (stack, tokio::spawn(run(stack))))
        .collect();
    let mut failed = Vec::new();
    for (stack, case) in cases {
        failed.extend(case.await.err().map(|_| stack));
    }
    assert!(failed.is_empty(), "failed on {failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_over_http2_is_in_use_while_bytes_flow() {
    each_stack(tunnelling(), async |stack| {
        let (connections, reasons) = connections(|it| it.idle_timeout(LIMIT));
        let (addr, _server) = stack.serve(&connections).await;
        let mut client = Http2::connect(addr).await;
        client.websocket(1, "/ws").await;
        client.until(HEADERS, 1).await;
        let begun = Instant::now();
        while begun.elapsed() < 5 * LIMIT / 2 {
            say_hi(&mut client, 1).await;
            assert_eq!(in_flight(&connections), 1, "{stack:?}");
            sleep(LIMIT / 5).await;
        }
        assert_eq!(connections.len(), 1, "{stack:?}");
        // And is reaped as any upgraded connection when it is silent.
        let frames = client.rest().await;
        let goaway = frames.iter().any(|frame| frame.kind == GOAWAY);
        assert!(goaway, "{stack:?}: {frames:?}");
        eventually("the end", || connections.is_empty()).await;
        assert_eq!(*reasons.lock().unwrap(), [CloseReason::Idle], "{stack:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_websocket_over_http2_stays_if_upgraded_ones_are_exempt() {
    each_stack(tunnelling(), async |stack| {
        let (connections, _) =
            connections(|it| it.idle_timeout(LIMIT / 4).upgraded(Upgraded::Exempt));
        let (addr, _server) = stack.serve(&connections).await;
        let mut client = Http2::connect(addr).await;
        client.websocket(1, "/ws").await;
        client.until(HEADERS, 1).await;
        sleep(3 * LIMIT / 2).await;
        say_hi(&mut client, 1).await;
        // Once it is gone, so is the exemption.
        client.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]).await;
        client.rest().await;
        assert!(connections.is_empty() || in_flight(&connections) == 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_a_websocket_over_http2_and_names_it_if_it_is_cut() {
    each_stack(tunnelling(), async |stack| {
        let (connections, _) = connections(|it| it);
        let (addr, _server) = stack.serve(&connections).await;
        let mut ends = Http2::connect(addr).await;
        let mut stays = Http2::connect(addr).await;
        for client in [&mut ends, &mut stays] {
            client.websocket(1, "/ws").await;
            client.until(HEADERS, 1).await;
        }
        let drain = tokio::spawn(connections.drain(3 * LIMIT / 2));
        // For longer than the grace, which is for those that are idle.
        let begun = Instant::now();
        while begun.elapsed() < 600 * MILLI {
            say_hi(&mut ends, 1).await;
            say_hi(&mut stays, 1).await;
        }
        ends.send(DATA, END_STREAM, 1, &[]).await;
        let report = drain.await.unwrap();
        assert_eq!(
            (report.graceful, report.forced, report.lost),
            (1, 1, 0),
            "{stack:?} {report}"
        );
        assert_eq!(report.cut[0].in_flight, 1, "{stack:?} {report}");
        assert!(report.took >= 3 * LIMIT / 2, "{stack:?} {report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_are_read_no_faster_than_their_client_reads() {
    const TUNNELS: u32 = 50;
    /// Less than what a connection may send before any of it is taken, which is 1 MiB.
    const MOST: u64 = 900_000;
    each_stack(tunnelling(), async |stack| {
        let (connections, _) = connections(|it| it);
        let (addr, _server) = stack.serve(&connections).await;
        let window = initial_window(0x7fff_ffff);
        // So that the server soon cannot write.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(addr).await.unwrap();
        let mut client = Http2::begin(stream, &window).await;
        client.update(0, 0x7000_0000).await;
        for tunnel in 0..TUNNELS {
            client.websocket(2 * tunnel + 1, "/ws").await;
        }
        // A WebSocket's text of 120 masked bytes, which is echoed.
        let mut message = vec![0x81, 0x80 | 120, 0, 0, 0, 0];
        message.resize(6 + 120, b'x');
        let round: Vec<u8> = (0..TUNNELS)
            .flat_map(|tunnel| frame(DATA, 0, 2 * tunnel + 1, &message))
            .collect();
        eventually("tunnels", || {
            let open = connections.snapshot(0, 1);
            open.first()
                .is_some_and(|it| it.exchanges == u64::from(TUNNELS))
        })
        .await;
        // h2 ends a connection whose small frames pile up, which bounds it as well.
        let read = || {
            let open = connections.snapshot(0, 1);
            open.first().map(|it| it.bytes_read)
        };
        // Nothing is read. Until the server does not read either.
        let mut sent = read().unwrap_or(0);
        'sending: while sent < MOST {
            if timeout(LIMIT, client.stream.write_all(&round))
                .await
                .is_err()
            {
                break;
            }
            sent += round.len() as u64;
            let waits = Instant::now();
            while let Some(read) = read()
                && read + 64 * 1024 < sent
            {
                if waits.elapsed() > LIMIT {
                    break 'sending;
                }
                sleep(MILLI).await;
            }
        }
        assert!(sent < MOST, "{stack:?}: {sent} bytes were read");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_announced_as_idle_after_its_last_stream() {
    each_stack(tunnelling(), async |stack| {
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let connections = Connections::builder()
            .on_event(move |event| match event {
                ConnectionEvent::Busy(_) => log.lock().unwrap().push("busy"),
                ConnectionEvent::Idle(_) => log.lock().unwrap().push("idle"),
                _ => {}
            })
            .build()
            .unwrap();
        let (addr, _server) = stack.serve(&connections).await;
        let mut client = Http2::connect(addr).await;
        client.websocket(1, "/ws").await;
        for stream in [3, 5, 7] {
            client.get(stream, "/").await;
            client.until(DATA, stream).await;
            say_hi(&mut client, 1).await;
        }
        assert_eq!(*events.lock().unwrap(), ["busy"], "{stack:?}");
        client.send(DATA, END_STREAM, 1, &[]).await;
        eventually("idle", || events.lock().unwrap().len() == 2).await;
        client.get(9, "/").await;
        client.until(DATA, 9).await;
        eventually("idle", || events.lock().unwrap().len() == 4).await;
        let events = events.lock().unwrap();
        assert_eq!(*events, ["busy", "idle", "busy", "idle"], "{stack:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_after_its_response() {
    each_stack(Stack::ALL, async |stack| {
        let (connections, reasons) = connections(|it| it.idle_timeout(LIMIT));
        let (addr, _server) = stack.serve(&connections).await;
        let mut client = Http2::connect(addr).await;
        client.post(1, "/late").await;
        while client.until(DATA, 1).await.flags & END_STREAM == 0 {}
        let begun = Instant::now();
        while begun.elapsed() < 5 * LIMIT / 2 {
            client.send(DATA, 0, 1, b"more").await;
            sleep(LIMIT / 5).await;
            assert_eq!(in_flight(&connections), 1, "{stack:?}");
        }
        client.send(DATA, END_STREAM, 1, &[]).await;
        eventually("the end of the stream", || in_flight(&connections) == 0).await;
        assert!(reasons.lock().unwrap().is_empty(), "{stack:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_is_reset_beside_others_that_get_on() {
    each_stack(Stack::ALL, async |stack| {
        let recorder = DebuggingRecorder::new();
        let metrics = recorder.snapshotter();
        let (connections, reasons) = connections(|it| {
            it.stall_timeout(LIMIT)
                .idle_timeout(None)
                .recorder(Arc::new(recorder))
        });
        let (addr, _server) = stack.serve(&connections).await;
        let mut client = Http2::connect(addr).await;
        // Of the connection's window there is enough for everyone.
        client.update(0, 1 << 30).await;
        client.get(1, "/big").await;
        client.get(3, "/big").await;
        let begun = Instant::now();
        let mut reset = None;
        let mut read = 0;
        while begun.elapsed() < 3 * LIMIT {
            let next = timeout(LONG, client.next()).await.unwrap().unwrap();
            match (next.kind, next.stream) {
                (RST_STREAM, 1) => reset = Some(next.payload),
                (RST_STREAM | GOAWAY, _) => panic!("{stack:?}: {next:?}"),
                (DATA, 3) => {
                    let more = u32::try_from(next.payload.len()).unwrap();
                    read += more;
                    client.update(3, more).await;
                    // Slowly, or it is over too soon.
                    sleep(2 * MILLI).await;
                    if next.flags & END_STREAM != 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        assert!(read > 1 << 16, "{stack:?}");
        assert_eq!(
            reset.as_deref(),
            Some(&[0, 0, 0, 8][..]),
            "{stack:?}: CANCEL"
        );
        assert!(in_flight(&connections) <= 1, "{stack:?}");
        // What the client sends for it now, it could not know.
        client.update(1, 1 << 20).await;
        client.get(5, "/").await;
        loop {
            let next = timeout(LONG, client.next()).await.unwrap().unwrap();
            match (next.kind, next.stream) {
                (DATA, 5) => {
                    assert_eq!(next.payload, b"hello");
                    break;
                }
                (DATA, 1) | (GOAWAY, _) => panic!("{stack:?}: {next:?}"),
                _ => {}
            }
        }
        assert!(reasons.lock().unwrap().is_empty(), "{stack:?}");
        let counted = metrics.snapshot().into_vec().into_iter().find_map(|it| {
            let (key, _, _, value) = it;
            (key.key().name() == "server_streams_reset_total").then_some(value)
        });
        assert_eq!(counted, Some(DebugValue::Counter(1)), "{stack:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_with_an_open_window_has_not_stalled() {
    each_stack(Stack::ALL, async |stack| {
        let (connections, reasons) = connections(|it| it.stall_timeout(LIMIT / 2));
        let (addr, _server) = stack.serve(&connections).await;
        // A handler at work, whose response nobody could write yet.
        let mut client = Http2::connect_with(addr, &initial_window(0)).await;
        client.get(1, "/slow/1500").await;
        let head = client.until(HEADERS, 1).await;
        assert_eq!(head.flags & END_STREAM, 0);
        client.update(1, 100).await;
        assert_eq!(client.until(DATA, 1).await.payload, b"waited", "{stack:?}");
        if stack.upgrades() {
            client.websocket(3, "/ws").await;
            client.update(3, 100).await;
            client.until(HEADERS, 3).await;
            sleep(2 * LIMIT).await;
            say_hi(&mut client, 3).await;
        }
        assert!(reasons.lock().unwrap().is_empty(), "{stack:?}");
    })
    .await;
}

/// Serves with a shutdown of the server's own, which sends a final GOAWAY.
async fn serve_until(
    stack: Stack,
    connections: &Connections,
    stop: oneshot::Receiver<()>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = connections.clone();
    let stop = async {
        let _ = stop.await;
    };
    tokio::spawn(async move {
        match stack {
            Stack::Own => {
                let _ = connections.server().serve(listener, app(), stop).await;
            }
            Stack::Axum => {
                let make = connections.make_service(app().into_make_service());
                let serve = axum::serve(connections.listener(listener), make);
                serve
                    .with_graceful_shutdown(stop)
                    .into_future()
                    .await
                    .unwrap();
            }
            Stack::Tonic => {
                tonic::transport::Server::builder()
                    .layer(connections.layer())
                    .add_routes(Routes::from(app()))
                    .serve_with_incoming_shutdown(connections.incoming(listener), stop)
                    .await
                    .unwrap();
            }
            Stack::ByHand => {
                let (stream, peer) = listener.accept().await.unwrap();
                let io = connections.accept(stream, &peer).await.unwrap();
                let service = TowerToHyperService::new(io.connection().service(app()));
                let http = auto::Builder::new(TokioExecutor::new());
                let mut serving =
                    pin!(http.serve_connection_with_upgrades(TokioIo::new(io), service));
                tokio::select! {
                    _ = serving.as_mut() => return,
                    () = stop => {}
                }
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        }
    });
    addr
}

/// What a client sends for a stream that it opened too late to know.
fn late_stream(id: u32) -> Vec<Vec<u8>> {
    vec![
        frame(HEADERS, END_HEADERS, id, &get_block("/")),
        frame(WINDOW_UPDATE, 0, id, &[0, 0, 4, 0]),
        frame(PRIORITY, 0, id, &[0, 0, 0, 0, 15]),
        frame(DATA, 0, id, b"body"),
        frame(WINDOW_UPDATE, 0, id, &[0, 0, 4, 0]),
        frame(RST_STREAM, 0, id, &[0, 0, 0, 8]),
        frame(WINDOW_UPDATE, 0, id, &[0, 0, 4, 0]),
    ]
}

/// When the frames for a refused stream come, of all that a drain does.
#[derive(Clone, Copy, Debug)]
enum Late {
    /// In the same bytes as the answer to the ping that decides.
    WithThePong,
    AfterTheGoaway,
    InSingleBytes,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_for_a_refused_stream_do_not_cost_the_one_in_flight() {
    for late in [Late::WithThePong, Late::AfterTheGoaway, Late::InSingleBytes] {
        each_stack(Stack::ALL, move |stack| async move {
            let (connections, _) = connections(|it| it);
            let (stop, stopped) = oneshot::channel();
            let addr = serve_until(stack, &connections, stopped).await;
            let mut client = Http2::connect(addr).await;
            client.get(1, "/slow/800").await;
            eventually("the request", || in_flight(&connections) == 1).await;
            stop.send(()).unwrap();
            let mut frames: Vec<Frame> = Vec::new();
            let late_frames = [late_stream(3), late_stream(5)].concat().concat();
            while let Some(next) = timeout(LONG, client.next_unanswered()).await.unwrap() {
                if next.kind == PING && next.flags == 0 {
                    let mut pong = frame(PING, 1, 0, &next.payload);
                    if matches!(late, Late::WithThePong) {
                        pong.extend(&late_frames);
                    }
                    client.write(&pong).await;
                }
                let last = (next.kind == GOAWAY)
                    .then(|| u32::from_be_bytes(next.payload[..4].try_into().unwrap()));
                if last == Some(1) && !matches!(late, Late::WithThePong) {
                    let step = match late {
                        Late::InSingleBytes => 1,
                        _ => late_frames.len(),
                    };
                    for piece in late_frames.chunks(step) {
                        client.write(piece).await;
                        if step == 1 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                frames.push(next);
            }
            for goaway in frames.iter().filter(|frame| frame.kind == GOAWAY) {
                assert_eq!(goaway.payload[4..8], [0; 4], "{stack:?} {late:?}");
            }
            let answer = frames
                .iter()
                .find(|frame| (frame.kind, frame.stream) == (DATA, 1));
            let answer = answer.unwrap_or_else(|| panic!("{stack:?} {late:?}: {frames:?}"));
            assert_eq!(answer.payload, b"waited", "{stack:?} {late:?}");
            assert!(frames.iter().all(|frame| ![3, 5].contains(&frame.stream)));
        })
        .await;
    }
}

/// Its client ends none of them: what it has opened too late must not hold the connection, nor
/// count for what is lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_opened_after_the_last_goaway_is_not_in_flight() {
    for cut in [false, true] {
        each_stack(Stack::ALL, move |stack| async move {
            let (connections, _) = connections(|it| it);
            let (stop, stopped) = oneshot::channel();
            let addr = serve_until(stack, &connections, stopped).await;
            let mut client = Http2::connect(addr).await;
            client
                .get(1, if cut { "/slow/60000" } else { "/slow/2000" })
                .await;
            eventually("the request", || in_flight(&connections) == 1).await;
            stop.send(()).unwrap();
            loop {
                let next = client.next().await.expect("open");
                if next.kind == GOAWAY && next.payload[..4] == [0, 0, 0, 1] {
                    break;
                }
            }
            let read = || connections.snapshot(0, 1)[0].bytes_read;
            let before = read();
            for id in [3, 5] {
                client.get(id, "/").await;
            }
            eventually("the late streams", || read() > before).await;
            assert_eq!(in_flight(&connections), 1, "{stack:?}");
            if cut {
                let report = connections.drain(Duration::ZERO).await;
                assert_eq!(report.forced, 1, "{stack:?} {report}");
                assert_eq!(report.cut[0].in_flight, 1, "{stack:?} {report}");
            } else {
                let frames = client.rest().await;
                assert!(frames.iter().all(|it| ![3, 5].contains(&it.stream)));
                let report = connections.drain(LONG).await;
                assert_eq!((report.forced, report.lost), (0, 0), "{stack:?} {report}");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_in_a_drain_with_exchanges_in_flight_is_no_end_in_order() {
    each_stack(Stack::ALL, async |stack| {
        let (connections, reasons) = connections(|it| it);
        let (addr, _server) = stack.serve(&connections).await;
        let mut violates = Http2::connect(addr).await;
        violates.get(1, "/slow/5000").await;
        let mut resets = tokio::net::TcpStream::connect(addr).await.unwrap();
        let request = b"GET /slow/5000 HTTP/1.1\r\nhost: x\r\n\r\n";
        resets.write_all(request).await.unwrap();
        let mut fine = Http2::connect(addr).await;
        fine.get(1, "/slow/600").await;
        eventually("the requests", || in_flight(&connections) == 3).await;
        let drain = tokio::spawn(connections.drain(LONG));
        violates.until(GOAWAY, 0).await;
        // DATA on a stream that was never opened.
        violates.send(DATA, 0, 99, b"?").await;
        resets.set_zero_linger().unwrap();
        drop(resets);
        fine.rest().await;
        drop(fine);
        let report = drain.await.unwrap();
        assert_eq!(
            (report.graceful, report.forced, report.lost),
            (1, 0, 2),
            "{stack:?} {report}"
        );
        assert!(report.broken.iter().all(|it| it.in_flight == 1), "{report}");
        let text = report.to_string();
        assert!(
            text.contains("2 were lost") && text.contains("lost: "),
            "{text}"
        );
        let mut reasons = reasons.lock().unwrap().clone();
        reasons.sort_by_key(|reason| reason.as_str());
        assert_eq!(
            reasons,
            [CloseReason::Drain, CloseReason::Error, CloseReason::Error],
            "{stack:?}"
        );
    })
    .await;
}

/// A stream that tonic serves over TLS of its own.
fn tls_below(io: &Tracked<tokio::io::DuplexStream>) {
    let _ = io.connect_info();
}

#[tokio::test(start_paused = true)]
async fn tls_below_is_no_half_head() {
    let (connections, reasons) = connections(|it| {
        it.first_byte_timeout(LIMIT)
            .header_timeout(LIMIT)
            .idle_timeout(10 * LIMIT)
    });
    let _layer = connections.layer();
    for hello in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16"] {
        let (server, mut client) = duplex(1024);
        let mut io = connections
            .accept(server, tower_ops_connections::Peer::Unknown)
            .await
            .unwrap();
        tls_below(&io);
        let begun = Instant::now();
        for byte in hello {
            client.write_all(&[*byte]).await.unwrap();
            io.read_exact(&mut [0]).await.unwrap();
        }
        if hello.len() > 1 {
            io.write_all(b"\x16\x03\x03hello yourself").await.unwrap();
            client.read_exact(&mut [0; 17]).await.unwrap();
            client.write_all(b"\x14\x03\x03\x00\x01\x01").await.unwrap();
            io.read_exact(&mut [0; 6]).await.unwrap();
        }
        assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
        let took = begun.elapsed();
        drop(io);
        let reason = reasons.lock().unwrap().pop().unwrap();
        if hello.len() > 1 {
            assert_eq!(reason, CloseReason::Idle);
            assert!(took >= 10 * LIMIT, "{took:?}");
        } else {
            assert_eq!(reason, CloseReason::HeaderTimeout);
            assert!(took < 2 * LIMIT, "{took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_on_one_server_does_not_judge_streams_of_another() {
    let (connections, reasons) =
        connections(|it| it.header_timeout(LIMIT).idle_timeout(10 * LIMIT));
    let _layer = connections.layer();
    // A stream of whose exchanges nobody hears: its bytes are all there is.
    let (server, mut client) = duplex(1024);
    let mut io = connections
        .accept(server, tower_ops_connections::Peer::Unknown)
        .await
        .unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 30 * LIMIT {
        client.write_all(b"bytes").await.unwrap();
        io.read_exact(&mut [0; 5]).await.unwrap();
        sleep(LIMIT / 2).await;
    }
    drop(io);
    assert_eq!(*reasons.lock().unwrap(), [CloseReason::ServerClosed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_needs_no_service_to_be_judged() {
    let (connections, reasons) = connections(|it| it.idle_timeout(LIMIT));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = connections.clone();
    tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let io = server.accept(stream, &peer).await.unwrap();
        let http = auto::Builder::new(TokioExecutor::new());
        let service = TowerToHyperService::new(app());
        let _ = http.serve_connection(TokioIo::new(io), service).await;
    });
    let mut client = Http2::connect(addr).await;
    client.get(1, "/slow/2500").await;
    eventually("the request", || in_flight(&connections) == 1).await;
    let begun = Instant::now();
    assert_eq!(client.until(DATA, 1).await.payload, b"waited");
    let answered = begun.elapsed();
    // Pings do not count.
    let (mut reader, mut writer) = client.stream.into_split();
    let pings = async {
        while writer.write_all(&frame(PING, 0, 0, &[7; 8])).await.is_ok() {
            sleep(LIMIT / 8).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = pings => {}
        _ = reader.read_to_end(&mut rest) => {}
    }
    assert!(answered > 2 * LIMIT, "it was not idle meanwhile");
    assert!(begun.elapsed() - answered < 5 * LIMIT);
    eventually("the end", || connections.is_empty()).await;
    assert_eq!(*reasons.lock().unwrap(), [CloseReason::Idle]);
}
