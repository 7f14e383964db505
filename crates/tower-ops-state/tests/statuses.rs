//! Every status, through a real socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tower_ops_state::{Restore, State, StateBuilder};
use tower_ops_testing::{RawHttp1, Server};

use self::case::{get, post};
use self::client::{AUTH, JSON, TOKEN, ask};
use self::shelf::{Mode, Shelf};

#[path = "support/case.rs"]
mod case;
#[path = "support/client.rs"]
mod client;
#[path = "support/shelf.rs"]
mod shelf;

const LIMIT: usize = 8 * 1024;

fn builder(shelf: &Shelf) -> StateBuilder {
    State::builder("shop", "1.0")
        .participant(shelf.clone())
        .token(TOKEN)
        .restore_when(|| true)
        .max_size(LIMIT)
}

async fn envelope(state: State) -> Vec<u8> {
    let mut envelope = Vec::new();
    let capture = state.capture().await.unwrap();
    capture.write_to(&mut envelope).unwrap();
    envelope
}

const SOON: Duration = Duration::from_millis(150);

async fn good() -> Vec<u8> {
    envelope(builder(&Shelf::new("shelf", &["new"])).build().unwrap()).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_status() {
    let good = good().await;
    let without = |from: &str, to: &str| {
        let text = String::from_utf8(good.clone()).unwrap();
        assert!(text.contains(from));
        text.replace(from, to).into_bytes()
    };
    let elsewhere = |application: &'static str, shelf: Shelf| {
        let state = State::builder(application, "1").participant(shelf);
        envelope(state.build().unwrap())
    };
    let foreign = elsewhere("bank", Shelf::new("shelf", &["x"])).await;
    let unknown = elsewhere("shop", Shelf::new("cellar", &["x"])).await;
    let newer = elsewhere("shop", Shelf::with_version("shelf", 3, &["x"])).await;
    let zero = elsewhere("shop", Shelf::with_version("shelf", 0, &["x"])).await;

    let cases = [
        get("capture", 200, r#""data":{"shelf":["old"]}"#),
        get("measure", 200, "").method("HEAD"),
        get("if-match", 200, "tower-ops-state").headers(&[AUTH, ("if-match", "\"0\"")]),
        post("restore", &good, 200, r#""dry_run":false"#).items(&["new"]),
        post("gzip", &gzip(&good), 200, r#""length":7"#)
            .headers(&[AUTH, JSON, ("content-encoding", "gzip")])
            .items(&["new"]),
        post("dry run", &good, 200, r#""changes":true"#).path("/state?dry_run=1"),
        post("resume", b"", 200, r#"{"resumed":false,"generation":0}"#).path("/state?resume=1"),
        post("next token", &good, 200, "")
            .headers(&[("authorization", "Bearer fedcba9876543210"), JSON])
            .build(|builder| builder.next_token("fedcba9876543210"))
            .items(&["new"]),
        // 400
        post("not an envelope", b"{}", 400, "not an envelope"),
        post("nothing", b"", 400, "not an envelope"),
        post("truncated", &good[..good.len() - 9], 400, "truncated"),
        post("changed", &without("new", "neu"), 400, "digest"),
        post(
            "format",
            &without("\"version\":1,\"head", "\"version\":9,\"head"),
            400,
            "version 1",
        ),
        post("not gzip", &good, 400, "cannot be read").headers(&[
            AUTH,
            JSON,
            ("content-encoding", "gzip"),
        ]),
        post("unsigned", &good, 400, "not signed")
            .build(|builder| builder.hmac_key("0123456789abcdef")),
        get("parameter", 400, "fence").path("/state?dry_run=1"),
        get("parameter's value", 400, "neither 1 nor 0").path("/state?fence=x"),
        get("if-match's value", 400, "if-match").headers(&[AUTH, ("if-match", "a")]),
        // 401
        get("no token", 401, "bearer").headers(&[]),
        get("wrong token", 401, "bearer").headers(&[("authorization", "Bearer 0123456789abcdeX")]),
        post("no token to restore", &good, 401, "bearer").headers(&[JSON]),
        // 405
        post("method", &good, 405, "not allowed").method("PUT"),
        // 412
        get("capture if", 412, "generation here is 0").headers(&[AUTH, ("if-match", "\"7\"")]),
        post("restore if", &good, 412, "generation here is 0").headers(&[
            AUTH,
            JSON,
            ("if-match", "\"7\""),
        ]),
        // 413
        post("longer", &vec![b' '; LIMIT + 1], 413, "larger"),
        post(
            "longer still",
            &gzip(&vec![b' '; 40 * LIMIT]),
            413,
            "larger",
        )
        .headers(&[AUTH, JSON, ("content-encoding", "gzip")]),
        get("larger", 413, "larger").build(|builder| {
            let long = "x".repeat(LIMIT);
            builder.participant(Shelf::new("long", &[&long]))
        }),
        // 415
        post("no type", &good, 415, "content-type").headers(&[AUTH]),
        post("type", &good, 415, "content-type").headers(&[AUTH, ("content-type", "text/plain")]),
        post("encoding", &good, 415, "content-encoding").headers(&[
            AUTH,
            JSON,
            ("content-encoding", "br"),
        ]),
        // 422
        post("foreign", &foreign, 422, "another application"),
        post("missing", &good, 422, r#""participant":"box""#)
            .build(|builder| builder.participant(Shelf::new("box", &[]))),
        post("missing, allowed", &good, 200, r#""missing":["box"]"#)
            .path("/state?allow_missing=1")
            .build(|builder| builder.participant(Shelf::new("box", &[])))
            .items(&["new"]),
        post("unknown", &unknown, 422, r#""participant":"cellar""#).path("/state?allow_missing=1"),
        post("unknown, allowed", &unknown, 200, r#""unknown":["cellar"]"#)
            .path("/state?allow_missing=1&allow_unknown=1"),
        post("newer schema", &newer, 422, "version 3"),
        post(
            "schema too old",
            &zero,
            422,
            "only version 1 can be migrated",
        ),
        post(
            "refused",
            &good,
            422,
            r#""error":"too heavy","participant":"shelf""#,
        )
        .next(Mode::RefusePrepare),
        post("panicked", &good, 422, "it panicked: the shelf fell").next(Mode::PanicInPrepare),
        post(
            "did not commit",
            &good,
            422,
            r#""participant":"shelf","rolled_back":true"#,
        )
        .next(Mode::RefuseCommitHalfWay),
        post("panicked in commit", &good, 422, r#""rolled_back":true"#)
            .next(Mode::PanicInCommitHalfWay),
        get("refused to capture", 422, "being painted").next(Mode::RefuseCapture),
        get("panicked in capture", 422, "it panicked").next(Mode::PanicInCapture),
        // 500
        post("cannot roll back", &good, 500, r#""rolled_back":false"#)
            .next(Mode::RefuseCommitAlways),
        post("serves", &good, 409, "this instance serves")
            .build(|builder| builder.restore_when(|| false)),
        post("serves, forced", &good, 200, "")
            .build(|builder| builder.restore_when(|| false))
            .path("/state?force=1")
            .items(&["new"]),
        post("serves, dry run", &good, 200, "")
            .build(|builder| builder.restore_when(|| false))
            .path("/state?dry_run=true"),
        // 504
        get("capture hangs", 504, "took")
            .next(Mode::HangInCapture)
            .build(|builder| builder.capture_timeout(SOON)),
        post("prepare hangs", &good, 504, "took")
            .next(Mode::HangInPrepare)
            .build(|builder| builder.restore_timeout(SOON)),
        post("commit hangs", &good, 504, r#""rolled_back":true"#)
            .next(Mode::HangInCommitHalfWay)
            .build(|builder| builder.restore_timeout(SOON)),
    ];
    let count = cases.len();
    for case in cases {
        case.run().await;
    }
    eprintln!("{count} cases");
}

#[tokio::test]
async fn without_a_token_it_is_closed_whatever_is_asked() {
    let shelf = Shelf::new("shelf", &[]);
    let state = State::builder("shop", "1").participant(shelf).build();
    let server = Server::spawn(state.unwrap().service()).await;
    for method in ["GET", "HEAD", "POST", "PUT"] {
        for headers in [&[AUTH][..], &[], &[("authorization", "Bearer ")]] {
            let (head, body) = ask(server.addr(), method, "/state", headers, b"").await;
            assert_eq!(head.status, 404);
            let text = String::from_utf8(body.into()).unwrap();
            assert!(method == "HEAD" || text.contains("set TOWER_OPS_STATE_TOKEN"));
        }
    }
}

#[tokio::test]
async fn without_a_participant_there_is_nothing_to_do() {
    let state = State::builder("shop", "1").token(TOKEN).build().unwrap();
    let server = Server::spawn(state.service()).await;
    for method in ["GET", "HEAD"] {
        let (head, _) = ask(server.addr(), method, "/state", &[AUTH], b"").await;
        assert_eq!(head.status, 503);
    }
    let headers = [AUTH, JSON];
    let (head, text) = ask(
        server.addr(),
        "POST",
        "/state?force=1",
        &headers,
        &good().await,
    )
    .await;
    assert_eq!(head.status, 503);
    assert!(text.starts_with(b"{\"error\":\"no participant is registered"));
}

#[tokio::test]
async fn a_client_has_to_insist_where_nothing_says_when_to_restore() {
    let shelf = Shelf::new("shelf", &["old"]);
    let state = State::builder("shop", "1").participant(shelf.clone());
    let server = Server::spawn(state.token(TOKEN).build().unwrap().service()).await;
    let good = good().await;
    let (head, text) = ask(server.addr(), "POST", "/", &[AUTH, JSON], &good).await;
    assert_eq!(head.status, 409, "{text:?}");
    let (head, _) = ask(server.addr(), "POST", "/?force=1", &[AUTH, JSON], &good).await;
    assert_eq!(head.status, 200);
    assert_eq!(*shelf.items(), ["new"]);
}

#[tokio::test]
async fn the_second_at_a_time_gets_409() {
    let shelf = Shelf::new("shelf", &["old"]);
    let state = builder(&shelf).build().unwrap();
    let server = Server::spawn(state.service()).await;
    let good = good().await;
    shelf.next(Mode::WaitInCapture);
    let addr = server.addr();
    let first = tokio::spawn(async move { ask(addr, "GET", "/", &[AUTH], b"").await });
    shelf.reached().await;
    for (method, headers) in [("GET", &[AUTH][..]), ("POST", &[AUTH, JSON])] {
        let (head, text) = ask(addr, method, "/", headers, &good).await;
        assert_eq!(head.status, 409, "{text:?}");
    }
    shelf.go_on();
    assert_eq!(first.await.unwrap().0.status, 200);
    assert_eq!(ask(addr, "GET", "/", &[AUTH], b"").await.0.status, 200);
    assert_eq!(*shelf.items(), ["old"]);
}

#[tokio::test]
async fn an_older_generation_gets_412_and_a_second_hand_over_409() {
    let (first, second) = (Shelf::new("shelf", &["a"]), Shelf::new("shelf", &[]));
    let (from, to) = (
        builder(&first).build().unwrap(),
        builder(&second).build().unwrap(),
    );
    let older = envelope(from.clone()).await;
    let (from_server, to_server) = (
        Server::spawn(from.service()).await,
        Server::spawn(to.service()).await,
    );
    let (head, taken) = ask(from_server.addr(), "GET", "/?fence=1", &[AUTH], b"").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["x-tower-ops-state-generation"], "1");
    let (head, text) = ask(from_server.addr(), "GET", "/?fence=1", &[AUTH], b"").await;
    assert_eq!(head.status, 409, "{text:?}");
    let (head, _) = ask(to_server.addr(), "POST", "/", &[AUTH, JSON], &taken).await;
    assert_eq!(head.status, 200);
    assert_eq!(to.generation(), 1);
    let (head, text) = ask(to_server.addr(), "POST", "/", &[AUTH, JSON], &older).await;
    assert_eq!(head.status, 412, "{text:?}");
    let (head, _) = ask(to_server.addr(), "POST", "/?force=1", &[AUTH, JSON], &older).await;
    assert_eq!(head.status, 200);
    assert_eq!(to.generation(), 1);
    let (head, text) = ask(from_server.addr(), "POST", "/?resume=1", &[AUTH], b"").await;
    assert_eq!(head.status, 200);
    assert_eq!(text, "{\"resumed\":true,\"generation\":2}\n");
}

#[tokio::test]
async fn too_large_is_answered_before_the_body_is_there() {
    let shelf = Shelf::new("shelf", &["old"]);
    let state = builder(&shelf).build().unwrap();
    let server = Server::spawn(state.service()).await;
    let head = |rest: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\n{rest}\r\n\r\n"
        )
    };
    // By its length, of which nothing has come.
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    let length = format!("content-length: {}", LIMIT + 1);
    client.send(head(&length)).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 413);
    // While it comes, and with no end in sight.
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    client
        .send(head("transfer-encoding: chunked"))
        .await
        .unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..3 {
        client.send(&chunk).await.unwrap();
    }
    assert_eq!(client.read_head().await.unwrap().status, 413);
}

#[tokio::test]
async fn a_body_that_stops_coming_gets_504_and_sets_the_flight_free() {
    let shelf = Shelf::new("shelf", &["old"]);
    let state = builder(&shelf).idle_body_timeout(SOON).build().unwrap();
    let server = Server::spawn(state.service()).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    client.send(head).await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.status, 504);
    let text = client.read_body(&head).await.unwrap().data;
    assert!(text.starts_with(b"{\"error\":\"nothing more of the body came"));
    state.restore(good().await, Restore::new()).await.unwrap();
}

#[tokio::test]
async fn what_is_sent_compressed_is_the_same() {
    let items: Vec<String> = (0..300).map(|item| format!("item {item}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let shelf = Shelf::new("shelf", &items);
    let state = builder(&shelf).build().unwrap();
    let server = Server::spawn(state.service()).await;
    let headers = [AUTH, ("accept-encoding", "gzip")];
    let (head, packed) = ask(server.addr(), "GET", "/", &headers, b"").await;
    assert_eq!(head.headers["content-encoding"], "gzip");
    let headers = [AUTH, ("accept-encoding", "gzip")];
    let (measured, _) = ask(server.addr(), "HEAD", "/", &headers, b"").await;
    assert!(!measured.headers.contains_key("content-encoding"));
    let digest = "x-tower-ops-state-digest";
    assert_eq!(measured.headers[digest], head.headers[digest]);
    let length: usize = measured.headers["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(packed.len() < length / 2);

    shelf.items().clear();
    let headers = [AUTH, JSON, ("content-encoding", "gzip")];
    let (head, text) = ask(server.addr(), "POST", "/", &headers, &packed).await;
    assert_eq!(head.status, 200, "{text:?}");
    assert_eq!(*shelf.items(), items);
}
