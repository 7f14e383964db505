//! A stream of HTTP/2 is in use until both of its halves are over, and bounded as HTTP/1 is.

use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Request};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tower_ops_testing::{RawHttp2, frame};
use tower_ops_tests::Service;

const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A masked text frame of a WebSocket with a mask of zeros, and what its echo looks like.
const MASKED: &[u8] = b"\x81\x85\0\0\0\0hello";
const ECHO: &[u8] = b"\x81\x05hello";

async fn read(stream: &mut h2::RecvStream, bytes: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < bytes {
        let data = timeout(LONG, stream.data()).await.unwrap();
        let data = data.expect("the stream is open").unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        got.extend(data);
    }
    got
}

#[tokio::test]
async fn a_websocket_over_http2_is_in_use_while_bytes_flow() {
    let environment = [("IDLE_MS", "2000"), ("PRE_DRAIN_MS", "0")];
    let mut service = Service::start_with("playground", &environment).await;
    let stream = TcpStream::connect(service.app()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    // Extended CONNECT is on once the server's settings have come.
    while !client.is_extended_connect_protocol_enabled() {
        sleep(10 * MILLI).await;
    }
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{}/ws", service.app()))
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    let websocket = Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    let (response, mut send) = client.send_request(request, false).unwrap();
    let response = timeout(LONG, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let mut echoes = response.into_body();

    // Twice the idle limit and more: nothing but the bytes keeps it.
    let began = Instant::now();
    while began.elapsed() < 5_000 * MILLI {
        send.send_data(Bytes::from_static(MASKED), false).unwrap();
        assert_eq!(read(&mut echoes, ECHO.len()).await, ECHO);
        sleep(200 * MILLI).await;
    }
    let (_, connections) = service.ops_get("/connections").await;
    assert!(connections.contains(r#""in_flight":1"#), "{connections}");

    service.process().terminate().unwrap();
    let goodbye = read(&mut echoes, 4).await;
    assert_eq!(goodbye[2..4], 1001_u16.to_be_bytes(), "going away");
    // The server may have ended the stream on its own by now.
    let _ = send.send_data(Bytes::new(), true);
    assert!(service.process().wait_exit(LONG).await.success());
    drop(driver);
}

/// The frames until the connection ends, while PINGs go out.
async fn pinging(client: &mut RawHttp2) -> Duration {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < LONG, "it is never closed");
        if client.send(frame::PING, 0, 0, &[7; 8]).await.is_err() {
            return began.elapsed();
        }
        match timeout(200 * MILLI, client.next_answering()).await {
            Ok(None) => return began.elapsed(),
            Ok(Some(_)) => sleep(20 * MILLI).await,
            Err(_) => {}
        }
    }
}

#[tokio::test]
async fn who_closes_the_window_of_http2_stalls_however_often_it_pings() {
    let service = Service::start_with("playground", &[("STALL_MS", "1000")]).await;
    for (window, path) in [(0, "/stream/1000/0"), (500, "/stream/1000/0"), (0, "/")] {
        let settings = [(INITIAL_WINDOW_SIZE, window)];
        let mut client = RawHttp2::connect(service.app(), &settings).await.unwrap();
        for stream in [1, 3, 5] {
            client.get(stream, path).await.unwrap();
        }
        let took = pinging(&mut client).await;
        assert!(took >= 900 * MILLI && took < 8_000 * MILLI, "{took:?}");
    }
    let metrics = service.scrape_idle().await;
    let stalled = [("reason", "stalled")];
    let closed = metrics.count("server_connections_closed_total", &stalled);
    assert_eq!(closed, 3);
}

#[tokio::test]
async fn one_unread_stream_is_reset_beside_others_that_progress() {
    let service = Service::start_with("playground", &[("STALL_MS", "1000")]).await;
    let settings = [(INITIAL_WINDOW_SIZE, 1_000)];
    let mut client = RawHttp2::connect(service.app(), &settings).await.unwrap();
    client.get(1, "/stream/1000/0").await.unwrap();
    client.get(3, "/stream/1000000/10").await.unwrap();
    let began = Instant::now();
    let (mut reset, mut progress_after) = (None, 0);
    while progress_after < 2_000 {
        let frame = client.next_answering().await.expect("the connection lives");
        match (frame.kind, frame.stream) {
            (frame::DATA, 3) => {
                let bytes = u32::try_from(frame.payload.len()).unwrap();
                client.window_update(3, bytes).await.unwrap();
                client.window_update(0, bytes).await.unwrap();
                progress_after += reset.map_or(0, |_| bytes);
            }
            (frame::RST_STREAM, 1) => reset = Some(began.elapsed()),
            (frame::RST_STREAM, _) => panic!("{frame:?}"),
            _ => {}
        }
        assert!(began.elapsed() < LONG, "reset: {reset:?}");
    }
    assert!(reset.unwrap() >= 900 * MILLI, "{reset:?}");
}

#[tokio::test]
async fn a_frame_for_a_refused_stream_costs_nothing_in_a_drain() {
    let mut service = Service::start_with("playground", &[("PRE_DRAIN_MS", "0")]).await;
    let mut client = RawHttp2::connect(service.app(), &[]).await.unwrap();
    client.get(1, "/slow/1500").await.unwrap();
    // Answered: the one before it is in flight.
    client.get(3, "/").await.unwrap();
    loop {
        let frame = client.next_answering().await.unwrap();
        if frame.stream == 3 && frame.flags & frame::END_STREAM != 0 {
            break;
        }
    }
    service.process().terminate().unwrap();
    let mut answered = false;
    let mut refused = false;
    while let Some(frame) = client.next_answering().await {
        let last = frame.payload.get(..4);
        if frame.kind == frame::GOAWAY && last != Some(&0x7fff_ffff_u32.to_be_bytes()) {
            assert_eq!(frame.payload[4..8], [0; 4], "no error: {frame:?}");
            // What a client sends that has not read the GOAWAY yet.
            client.post(5, "/echo").await.unwrap();
            client.window_update(5, 65_535).await.unwrap();
            client.send(frame::PRIORITY, 0, 5, &[0; 5]).await.unwrap();
            client.send(frame::DATA, 0, 5, b"some").await.unwrap();
            client.window_update(5, 1).await.unwrap();
            client
                .send(frame::RST_STREAM, 0, 5, &[0, 0, 0, 8])
                .await
                .unwrap();
            client.window_update(7, 1).await.unwrap();
            refused = true;
        }
        answered |= frame.stream == 1 && frame.kind == frame::DATA;
    }
    assert!(refused, "there was no final GOAWAY");
    assert!(answered, "the request in flight was lost");
    assert!(service.process().wait_exit(LONG).await.success());
    let output = service.process().output().join("\n");
    assert!(output.contains("clean"), "{output}");
}
