//! The end of a process with clients and handlers that never end, and with signals at odd
//! moments: it always ends in time, and its report names what was aborted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower_ops_testing::{Process, RawHttp1, free_addr};
use tower_ops_tests::Service;

const PRE_DRAIN: Duration = Duration::from_secs(1);
const DRAIN: Duration = Duration::from_secs(5);
const ABORT: Duration = Duration::from_secs(1);
/// What may come on top of the deadlines, on a machine that has more to do.
const SLACK: Duration = Duration::from_secs(3);
/// Hooks, which there are none of, and half of the margin: how long a process that is stuck
/// itself may take on top of the rest.
const OVERDUE: Duration = Duration::from_secs(5 + 1);
const LONG: Duration = Duration::from_secs(30);

async fn start() -> Service {
    let millis = |time: Duration| time.as_millis().to_string();
    let environment = [
        ("PRE_DRAIN_MS", &*millis(PRE_DRAIN)),
        ("DRAIN_MS", &*millis(DRAIN)),
    ];
    Service::start_with("playground", &environment).await
}

/// How a process ended.
struct Ended {
    took: Duration,
    code: Option<i32>,
    output: String,
}

async fn end(mut service: Service, signals: &[&str]) -> Ended {
    let began = Instant::now();
    for signal in signals {
        service.process().signal(signal).unwrap();
    }
    ended(service.process(), began).await
}

async fn ended(process: &mut Process, began: Instant) -> Ended {
    let status = process.wait_exit(LONG).await;
    Ended {
        took: began.elapsed(),
        code: status.code(),
        output: process.output().join("\n"),
    }
}

/// What a client does that keeps the process, and how the process names it, if it has to be
/// aborted.
#[derive(Clone, Copy, Debug)]
enum Stuck {
    HalfAHead,
    SilentTcp,
    SilentHttp2,
    NotReading,
    Endless,
    Sse,
    WebSocket,
    GrpcWatch,
    NeverAnswered,
}

impl Stuck {
    const ALL: [Self; 9] = [
        Self::HalfAHead,
        Self::SilentTcp,
        Self::SilentHttp2,
        Self::NotReading,
        Self::Endless,
        Self::Sse,
        Self::WebSocket,
        Self::GrpcWatch,
        Self::NeverAnswered,
    ];

    const fn sends(self) -> &'static str {
        match self {
            Self::HalfAHead => "GET / HTTP/1.1\r\nhost: it\r\nx-half: ",
            Self::SilentTcp | Self::GrpcWatch => "",
            Self::SilentHttp2 => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            Self::NotReading => "GET /stream/1000000/0 HTTP/1.1\r\nhost: it\r\n\r\n",
            Self::Endless => "GET /stream/1000000/50 HTTP/1.1\r\nhost: it\r\n\r\n",
            Self::Sse => "GET /sse HTTP/1.1\r\nhost: it\r\n\r\n",
            Self::WebSocket => {
                "GET /ws HTTP/1.1\r\nhost: it\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
            Self::NeverAnswered => "GET /slow/3600000 HTTP/1.1\r\nhost: it\r\n\r\n",
        }
    }

    /// Its line in the report.
    const fn aborted(self) -> Option<&'static str> {
        match self {
            Self::HalfAHead => Some("(http1, "),
            Self::NotReading | Self::Endless => Some("GET /stream/{chunks}/{ms} for "),
            Self::NeverAnswered => Some("GET /slow/{ms} for "),
            // GOAWAY asks for an answer, so that no request is lost.
            Self::SilentHttp2 => Some("(http2, "),
            // They end by themselves, or can be closed at once.
            Self::SilentTcp | Self::Sse | Self::WebSocket | Self::GrpcWatch => None,
        }
    }

    async fn check(self) {
        let service = start().await;
        let mut client = TcpStream::connect(service.app()).await.unwrap();
        let peer = client.local_addr().unwrap();
        client.write_all(self.sends().as_bytes()).await.unwrap();
        let watch = match self {
            Self::GrpcWatch => Some(Watch::start(&service).await),
            _ => None,
        };
        // Served by now, as those that came before it are.
        service.get("/", &[]).await;
        sleep(Duration::from_millis(100)).await;
        let ended = end(service, &["TERM"]).await;
        let Ended { took, output, .. } = &ended;
        assert_eq!(ended.code, Some(0), "{self:?}: {output}");
        assert!(*took >= PRE_DRAIN, "{self:?}: {took:?}");
        let limit = PRE_DRAIN + DRAIN + ABORT + SLACK;
        assert!(*took <= limit, "{self:?}: {took:?} {output}");
        match self.aborted() {
            Some(named) => {
                assert!(output.contains(named), "{self:?}: {output}");
                assert!(output.contains(&peer.to_string()), "{self:?}: {output}");
                assert!(output.contains("1 aborted"), "{self:?}: {output}");
            }
            None => {
                assert!(
                    output.contains("shutdown by SIGTERM: clean"),
                    "{self:?}: {output}"
                );
                // And not at the end of the drain.
                assert!(*took < PRE_DRAIN + DRAIN, "{self:?}: {took:?}");
            }
        }
        if matches!(self, Self::Sse) {
            let mut events = String::new();
            client.read_to_string(&mut events).await.unwrap();
            assert!(
                events.ends_with("\r\n0\r\n\r\n"),
                "the last chunk: {events:?}"
            );
        }
        if matches!(self, Self::WebSocket) {
            let mut frames = Vec::new();
            client.read_to_end(&mut frames).await.unwrap();
            let goodbye = b"\x88\x13\x03\xe9the service stops";
            assert!(frames.ends_with(goodbye), "1001, going away: {frames:?}");
        }
        if let Some(watch) = watch {
            watch.has_ended().await;
        }
    }
}

struct Watch(tonic::Streaming<tonic_health::pb::HealthCheckResponse>);

impl Watch {
    async fn start(service: &Service) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", service.app())).unwrap();
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        let overall = HealthCheckRequest::default();
        let mut watch = client.watch(overall).await.unwrap().into_inner();
        // The status may change a moment after it serves.
        let serving = i32::from(ServingStatus::Serving);
        while watch.message().await.unwrap().unwrap().status != serving {}
        Self(watch)
    }

    async fn has_ended(mut self) {
        let last = self.0.message().await.unwrap().unwrap();
        assert_eq!(last.status, i32::from(ServingStatus::NotServing));
        let end = timeout(LONG, self.0.message()).await.unwrap();
        assert!(end.is_ok_and(|message| message.is_none()));
    }
}

#[tokio::test]
async fn no_client_and_no_handler_keeps_it() {
    join_all(Stuck::ALL.map(Stuck::check)).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let service = start().await;
    let ended = end(service, &["TERM", "INT"]).await;
    assert_eq!(ended.code, Some(130), "{}", ended.output);
    let line = "ended at once by another SIGINT";
    assert!(ended.output.contains(line), "{}", ended.output);
}

#[tokio::test]
async fn a_prestop_hook_and_the_signal_are_one_shutdown() {
    let mut service = start().await;
    let began = Instant::now();
    let mut hook = RawHttp1::connect(service.ops()).await.unwrap();
    hook.send_request("GET", "/prestop", &[], "").await.unwrap();
    // As the kubelet does it, or all at once.
    sleep(Duration::from_millis(100)).await;
    service.process().terminate().unwrap();
    let head = hook.read_head().await.unwrap();
    assert_eq!(head.status, 200);
    let ended = ended(service.process(), began).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(
        ended.took < PRE_DRAIN + DRAIN,
        "one clock: {:?}",
        ended.took
    );
    let report = ended.output;
    assert!(report.contains("shutdown by prestop: clean"), "{report}");
    assert!(
        report.contains("SIGTERM"),
        "the later one is noted: {report}"
    );
}

#[tokio::test]
async fn a_signal_at_any_moment_of_the_start_ends_it() {
    let ended = (0..20).map(|place| async move {
        let mut command = Process::example("quickstart");
        command
            .env("APP_ADDR", free_addr().to_string())
            .env("OPS_ADDR", free_addr().to_string());
        let mut process = Process::spawn(command).unwrap();
        sleep(Duration::from_millis(place)).await;
        process.terminate().unwrap();
        let began = Instant::now();
        let status = process.wait_exit(LONG).await;
        // 5 s where it served already; else at once, by the signal itself or in order.
        let limit = Duration::from_secs(5) + 3 * SLACK;
        assert!(began.elapsed() <= limit, "{:?}", began.elapsed());
        let in_order = status.code() == Some(0);
        assert!(
            in_order || status.code().is_none(),
            "{status}: {:?}",
            process.output()
        );
    });
    join_all(ended).await;
}

/// Workers of the playground's runtime.
async fn workers(service: &Service) -> usize {
    service.scrape().await.count("server_workers", &[])
}

async fn block(service: &Service, workers: usize) {
    for _ in 0..workers {
        let mut client = RawHttp1::connect(service.app()).await.unwrap();
        let path = "/block/60000";
        client.send_request("GET", path, &[], "").await.unwrap();
        // So that it gets a worker of its own.
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_does_not_keep_the_process() {
    let service = start().await;
    block(&service, 1).await;
    let ended = end(service, &["TERM"]).await;
    let output = ended.output;
    assert_eq!(ended.code, Some(143), "{output}");
    let limit = PRE_DRAIN + DRAIN + ABORT + OVERDUE + SLACK;
    assert!(ended.took <= limit, "{:?}", ended.took);
    assert!(output.contains("GET /block/{ms} for "), "{output}");
}

#[tokio::test]
async fn a_runtime_that_is_blocked_as_a_whole_is_told_and_ended() {
    let mut service = start().await;
    let workers = workers(&service).await;
    // More: what drives I/O moves from one worker to the next.
    block(&service, workers + 4).await;
    // It answers at all: whatever waited for the application would wait for a minute.
    let scraped = timeout(LONG, service.ops_get("/metrics")).await.unwrap();
    assert_eq!(scraped.0, 200);

    let began = Instant::now();
    service.process().terminate().unwrap();
    while service.ops_get("/ready").await.0 == 200 {
        assert!(
            began.elapsed() < PRE_DRAIN + DRAIN,
            "readiness does not turn"
        );
    }
    let ended = ended(service.process(), began).await;
    let output = ended.output;
    assert_eq!(ended.code, Some(143), "{output}");
    let limit = PRE_DRAIN + DRAIN + ABORT + OVERDUE + SLACK;
    assert!(ended.took <= limit, "{:?}", ended.took);
    assert!(output.contains("overdue, exited"), "{output}");
}
