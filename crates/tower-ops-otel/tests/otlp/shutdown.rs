//! The end comes in time, and all signals end at once.

use super::*;

fn set_off(telemetry: &Telemetry) {
    make_spans(telemetry, 10);
    let meter = telemetry.meter_provider().unwrap().meter("test");
    meter.u64_counter("orders").build().add(7, &[]);
    let logger = telemetry.logger_provider().unwrap().logger("test");
    logger.emit(logger.create_log_record());
}

/// Traces, metrics and logs hang, each at a collector of its own.
async fn all_hang(timeout: Duration) -> (Telemetry, [Collector; 3]) {
    let collectors = [
        Collector::grpc(Behaviour::Hang).await,
        Collector::http(Behaviour::Hang).await,
        Collector::grpc(Behaviour::Hang).await,
    ];
    let [traces, metrics, logs] = &collectors;
    let telemetry = builder(Protocol::Grpc, &traces.url())
        .set("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")
        .set(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            format!("{}/v1/metrics", metrics.url()),
        )
        .set("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", logs.url())
        .metrics()
        .logs()
        .shutdown_timeout(timeout)
        .start()
        .unwrap();
    set_off(&telemetry);
    (telemetry, collectors)
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_collectors_are_waited_for_once() {
    let timeout = Duration::from_millis(700);
    let (telemetry, _collectors) = all_hang(timeout).await;
    let begun = Instant::now();
    telemetry.shutdown().await;
    let took = begun.elapsed();
    // One after the other they would take three times as long.
    assert!(took >= timeout && took < timeout * 3, "{took:?}");
    let counts = telemetry.span_counts();
    assert_eq!(counts.dropped_by(DropReason::Shutdown), 10, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_it_ends_it_as_well() {
    let timeout = Duration::from_millis(700);
    let (telemetry, _collectors) = all_hang(timeout).await;
    let begun = Instant::now();
    drop(telemetry);
    let took = begun.elapsed();
    // One after the other they would take three times as long.
    assert!(took >= timeout && took < timeout * 3, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_it_exports_what_waits() {
    let collector = Collector::grpc(Behaviour::Take).await;
    let telemetry = builder(Protocol::Grpc, &collector.url())
        .metrics()
        .logs()
        .start()
        .unwrap();
    set_off(&telemetry);
    let clone = telemetry.clone();
    drop(telemetry);
    assert_eq!(collector.received().attempts, 0);
    drop(clone);
    let received = collector.received();
    assert_eq!(received.spans().len(), 10);
    assert_eq!((received.metrics.len(), received.logs.len()), (1, 1));
}

/// On a runtime with one thread, of which this takes the only one.
#[tokio::test]
async fn a_runtime_with_one_thread_is_enough() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let telemetry = builder(Protocol::Grpc, &url)
        .metrics()
        .shutdown_timeout(Duration::from_millis(300))
        .start()
        .unwrap();
    make_spans(&telemetry, 10);
    let begun = Instant::now();
    telemetry.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(listener);
}

/// Where a test has moved the time of its own runtime ahead.
#[tokio::test(start_paused = true)]
async fn the_deadline_is_on_the_clock_of_the_thread() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let telemetry = builder(Protocol::Grpc, &url)
        .shutdown_timeout(Duration::from_millis(100))
        .start()
        .unwrap();
    make_spans(&telemetry, 10);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    telemetry.shutdown().await;
    assert_eq!(telemetry.span_counts().dropped(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_end_waits_for_the_first() {
    let collector = Collector::http(Behaviour::Slow(Duration::from_millis(100))).await;
    let telemetry = builder(Protocol::HttpProtobuf, &collector.url())
        .start()
        .unwrap();
    make_spans(&telemetry, 3);
    tokio::join!(telemetry.shutdown(), telemetry.shutdown());
    assert_eq!(telemetry.span_counts().exported, 3);
    telemetry.shutdown().await;
}
