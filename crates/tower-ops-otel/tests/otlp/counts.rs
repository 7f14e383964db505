//! Made is exported and dropped, whatever the collector does.

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_ops_core::recorder::RecorderHandle;

use super::*;

/// Spans that were made, and what became of them.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_collector_does_the_counts_are_exact() {
    let behaviours = [
        (Behaviour::Take, None),
        (Behaviour::Reject(2), Some(DropReason::Rejected)),
        (Behaviour::Fail, Some(DropReason::ExportFailed)),
        (Behaviour::Unavailable, Some(DropReason::ExportFailed)),
        (Behaviour::Slow(Duration::from_millis(50)), None),
        (Behaviour::Hang, Some(DropReason::Timeout)),
    ];
    for protocol in BOTH {
        for (behaviour, reason) in behaviours {
            let collector = collector(protocol, behaviour).await;
            // Only who hangs is given up soon: a machine may be slow.
            let timeout = match reason {
                Some(DropReason::Timeout) => "150",
                _ => "60000",
            };
            let telemetry = builder(protocol, &collector.url())
                .set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
                .set("OTEL_EXPORTER_OTLP_TIMEOUT", timeout)
                .shutdown_timeout(Duration::from_secs(30))
                .start()
                .unwrap();
            make_spans(&telemetry, 25);
            telemetry.shutdown().await;

            let counts = telemetry.span_counts();
            let context = format!("{protocol:?} {behaviour:?} {counts:?}");
            assert_eq!(counts.exported + counts.dropped(), 25, "{context}");
            let dropped = match reason {
                None => 0,
                // Of each of the three batches.
                Some(DropReason::Rejected) => 6,
                Some(_) => 25,
            };
            assert_eq!(counts.dropped(), dropped, "{context}");
            if let Some(reason) = reason {
                assert_eq!(counts.dropped_by(reason), dropped, "{context}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_the_spans_alone() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for protocol in BOTH {
        let telemetry = builder(protocol, &url).start().unwrap();
        make_spans(&telemetry, 100);
        telemetry.shutdown().await;
        let counts = telemetry.span_counts();
        assert_eq!(counts.exported, 0, "{protocol:?}");
        assert_eq!(
            counts.dropped_by(DropReason::ExportFailed),
            100,
            "{counts:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_bounded_and_nobody_waits_for_it() {
    for protocol in BOTH {
        let collector = collector(protocol, Behaviour::Hang).await;
        let telemetry = builder(protocol, &collector.url())
            .set("OTEL_BSP_MAX_QUEUE_SIZE", "64")
            .set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
            .shutdown_timeout(Duration::from_millis(200))
            .start()
            .unwrap();
        let made = 8 * 5_000;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| make_spans(&telemetry, 5_000));
            }
        });
        // One batch is on its way, 64 wait at most.
        let full = telemetry.span_counts().dropped_by(DropReason::QueueFull);
        assert!(full >= made - 64 - 16, "{full}");
        telemetry.shutdown().await;
        let counts = telemetry.span_counts();
        assert_eq!((counts.exported, counts.dropped()), (0, made), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_end_during_the_shutdown_are_counted() {
    let collector = collector(Protocol::Grpc, Behaviour::Take).await;
    let telemetry = builder(Protocol::Grpc, &collector.url()).start().unwrap();
    let others: Vec<_> = (0..4)
        .map(|_| {
            let telemetry = telemetry.clone();
            std::thread::spawn(move || {
                let mut made = 0;
                // Until the end is over, and then some.
                while telemetry.span_counts().dropped_by(DropReason::Shutdown) < 1_000 {
                    make_spans(&telemetry, 10);
                    made += 10;
                }
                made
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    telemetry.shutdown().await;
    let made: u64 = others.into_iter().map(|other| other.join().unwrap()).sum();
    let counts = telemetry.span_counts();
    assert_eq!(counts.exported + counts.dropped(), made, "{counts:?}");
    assert_eq!(collector.received().spans().len() as u64, counts.exported);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_are_metrics_from_the_start() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    let late = DebuggingRecorder::new();
    let late_snapshots = late.snapshotter();
    let collector = collector(Protocol::HttpProtobuf, Behaviour::Reject(1)).await;
    let telemetry = builder(Protocol::HttpProtobuf, &collector.url())
        .recorder(Arc::new(recorder))
        .start()
        .unwrap();
    let series = |snapshots: &metrics_util::debugging::Snapshotter| {
        let mut series: Vec<_> = snapshots
            .snapshot()
            .into_vec()
            .into_iter()
            .map(|(key, _, _, value)| {
                let key = key.key();
                let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
                let DebugValue::Counter(value) = value else {
                    panic!("{key} is no counter");
                };
                (format!("{} {}", key.name(), labels.join(",")), value)
            })
            .collect();
        series.sort();
        series
    };
    let all = |exported, rejected| {
        vec![
            ("tower_ops_spans_dropped_total export_failed".to_owned(), 0),
            ("tower_ops_spans_dropped_total queue_full".to_owned(), 0),
            (
                "tower_ops_spans_dropped_total rejected".to_owned(),
                rejected,
            ),
            ("tower_ops_spans_dropped_total shutdown".to_owned(), 0),
            ("tower_ops_spans_dropped_total timeout".to_owned(), 0),
            ("tower_ops_spans_exported_total ".to_owned(), exported),
        ]
    };
    assert_eq!(series(&snapshots), all(0, 0));
    make_spans(&telemetry, 5);
    telemetry.shutdown().await;
    assert_eq!(series(&snapshots), all(4, 1));
    let late = RecorderHandle::new(Some(Arc::new(late)));
    telemetry.publish(&late);
    telemetry.publish(&late);
    assert_eq!(series(&late_snapshots), all(4, 1));
}

/// No exchange waits for a collector: each is over at its first poll, and the time that all of them
/// take is of the same kind, whatever the collector does. The bound is generous: to wait would cost
/// seconds.
#[tokio::test(flavor = "multi_thread")]
async fn exchanges_do_not_wait_for_a_collector() {
    use tower::{Layer, Service};
    let mut times = Vec::new();
    for behaviour in [
        Behaviour::Take,
        Behaviour::Hang,
        Behaviour::Fail,
        Behaviour::Slow(Duration::from_secs(1)),
    ] {
        let collector = collector(Protocol::Grpc, behaviour).await;
        let telemetry = builder(Protocol::Grpc, &collector.url())
            .shutdown_timeout(Duration::from_millis(100))
            .start()
            .unwrap();
        let echo = tower::service_fn(|_: http::Request<String>| {
            std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(
                String::new(),
            )))
        });
        let spans = tower_ops_trace::Spans::new().with_tracer(telemetry.tracer());
        let mut service = spans.into_layer().layer(echo);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let begun = Instant::now();
        for _ in 0..5_000 {
            let mut exchange = std::pin::pin!(service.call(http::Request::new(String::new())));
            assert!(exchange.as_mut().poll(&mut cx).is_ready());
        }
        times.push(begun.elapsed());
        telemetry.shutdown().await;
        let counts = telemetry.span_counts();
        assert_eq!(counts.exported + counts.dropped(), 5_000, "{behaviour:?}");
    }
    let up = times[0].max(Duration::from_millis(20));
    assert!(times.iter().all(|time| *time < up * 20), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_is_not_used_for_ever() {
    let collector = Collector::grpc_after_silence().await;
    let telemetry = builder(Protocol::Grpc, &collector.url())
        .set("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
        .set("OTEL_BSP_SCHEDULE_DELAY", "10")
        .start()
        .unwrap();
    make_spans(&telemetry, 3);
    while telemetry.span_counts().dropped_by(DropReason::Timeout) < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // On a slow machine an attempt on the new connection may be too late as well.
    while telemetry.span_counts().exported == 0 {
        make_spans(&telemetry, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
