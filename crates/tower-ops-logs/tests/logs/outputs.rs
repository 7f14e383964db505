//! Outputs that take nothing, little, or fail: nobody waits, and every line is written or counted.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use serde_json::Value as Json;
use tower_ops_logs::{Format, Logs, RecorderHandle};
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;

use super::sink::{Sink, json, lines};

const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

fn log(level: Level, number: u64) {
    let padding = "x".repeat(200);
    match level {
        Level::ERROR => tracing::error!(number, padding, "line"),
        Level::WARN => tracing::warn!(number, padding, "line"),
        Level::INFO => tracing::info!(number, padding, "line"),
        Level::DEBUG => tracing::debug!(number, padding, "line"),
        Level::TRACE => tracing::trace!(number, padding, "line"),
    }
}

/// What was written, and what the lines about losses add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    written: [u64; 5],
    reported: [u64; 5],
}

impl Count {
    fn of<'a>(lines: impl Iterator<Item = &'a Json>) -> Self {
        let mut count = Self::default();
        for line in lines {
            if line["message"] == "log lines were lost" {
                assert_eq!(
                    (&line["level"], &line["target"]),
                    (&"WARN".into(), &"tower_ops::logs".into())
                );
                let mut sum = 0;
                for (index, level) in LEVELS.iter().enumerate() {
                    let key = format!("lost_{}", level.as_str().to_lowercase());
                    let lost = line.get(key).map_or(0, |lost| lost.as_u64().unwrap());
                    count.reported[index] += lost;
                    sum += lost;
                }
                assert_eq!(line["lost"], sum);
            } else {
                let level = LEVELS
                    .iter()
                    .position(|level| line["level"] == level.as_str());
                count.written[level.unwrap()] += 1;
            }
        }
        count
    }

    /// Checks that every line was written or reported, and counted.
    fn check(&self, each: u64, logs: &Logs, snapshots: &Snapshotter) {
        let counted = counters(snapshots);
        for (index, level) in LEVELS.into_iter().enumerate() {
            assert_eq!(
                self.written[index] + self.reported[index],
                each,
                "{level}: {self:?}"
            );
            assert_eq!(logs.lost(level), self.reported[index], "{level}");
            assert_eq!(
                counted[&*level.as_str().to_lowercase()],
                self.reported[index],
                "{level}"
            );
        }
    }
}

fn recorder() -> (RecorderHandle, Snapshotter) {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    (RecorderHandle::new(Some(Arc::new(recorder))), snapshots)
}

fn counters(snapshots: &Snapshotter) -> HashMap<String, u64> {
    let all = snapshots.snapshot().into_vec().into_iter();
    all.map(|(key, _, _, value)| {
        assert_eq!(key.key().name(), "tower_ops_log_lines_dropped_total");
        let DebugValue::Counter(count) = value else {
            panic!("{value:?}");
        };
        (key.key().labels().next().unwrap().value().to_owned(), count)
    })
    .collect()
}

#[test]
fn nobody_waits_for_a_pipe_that_nobody_reads_and_the_loss_is_exact() {
    const THREADS: u64 = 4;
    const EACH: u64 = 2_000;
    let (mut reader, writer) = io::pipe().unwrap();
    let logs = Logs::builder()
        .environment(false)
        .format(Format::Json)
        .filter("trace");
    let logs = logs.queue(256 * 1024).writer(writer).build().unwrap();
    let (recorder, snapshots) = recorder();
    logs.register_metrics(&recorder);
    let at_first = counters(&snapshots);
    assert_eq!(at_first.len(), 5);
    assert!(at_first.values().all(|count| *count == 0));

    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(logs.layer()));
    // If any of them waited for the reader, this would wait for ever: it does not read yet.
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    for number in 0..EACH {
                        LEVELS.into_iter().for_each(|level| log(level, number));
                    }
                });
            });
        }
    });
    // Nor does the end of the process, beyond its timeout.
    assert!(!logs.flush(Duration::from_millis(10)));
    let lost_debug = logs.lost(Level::DEBUG);
    assert!(lost_debug > 0);

    let reading = thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    assert!(logs.flush(Duration::from_secs(60)));
    assert_eq!(
        logs.lost(Level::DEBUG),
        lost_debug,
        "what is in the queue is not lost"
    );
    drop(dispatch);
    let again = logs.clone();
    drop(logs);
    let counted = LEVELS.map(|level| again.lost(level));
    let metrics = counters(&snapshots);
    drop(again);
    let lines = lines(&reading.join().unwrap());
    let json: Vec<_> = lines.iter().map(|line| json(line)).collect();
    let count = Count::of(json.iter());
    assert_eq!(count.reported, counted);
    for (index, level) in LEVELS.into_iter().enumerate() {
        let name = level.as_str().to_lowercase();
        assert_eq!(
            count.written[index] + count.reported[index],
            THREADS * EACH,
            "{level}"
        );
        assert_eq!(metrics[&name], count.reported[index], "{level}");
    }
    // The more severe, the fewer were lost.
    assert!(
        count.written[0] >= count.written[2] && count.written[2] > count.written[4],
        "{count:?}"
    );
    assert!(count.written[0] > 0);
}

/// Takes some bytes at a time, and fails now and then, also within a line.
struct Unsteady {
    sink: Sink,
    calls: u64,
}

impl Write for Unsteady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        match self.calls % 7 {
            1 => Err(io::ErrorKind::Interrupted.into()),
            2 => Err(io::ErrorKind::WouldBlock.into()),
            4 if self.calls.is_multiple_of(3) => Err(io::ErrorKind::BrokenPipe.into()),
            6 if self.calls.is_multiple_of(5) => panic!("a writer that panics"),
            _ => self.sink.write(&bytes[..bytes.len().min(1500)]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_could_not_be_written_are_counted_and_the_next_ones_are_whole() {
    let sink = Sink::default();
    let output = Unsteady {
        sink: sink.clone(),
        calls: 0,
    };
    let logs = Logs::builder()
        .environment(false)
        .format(Format::Json)
        .filter("trace");
    let logs = logs.writer(output).build().unwrap();
    let (recorder, snapshots) = recorder();
    logs.register_metrics(&recorder);
    let subscriber = tracing_subscriber::registry().with(logs.layer());
    let mut json = Vec::new();
    let mut broken = 0;
    let each = 300;
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..each {
            LEVELS.into_iter().for_each(|level| log(level, number));
            if number % 10 == 9 {
                assert!(logs.flush(Duration::from_secs(60)));
            }
        }
    });
    // A report that could not be written is written with the next one.
    for _ in 0..20 {
        assert!(logs.flush(Duration::from_secs(60)));
    }
    for line in lines(&sink.take()) {
        match serde_json::from_str::<Json>(&line) {
            Ok(line) => json.push(line),
            // The part of one that was written before the output failed.
            Err(_) => broken += 1,
        }
    }
    let count = Count::of(json.iter());
    count.check(each, &logs, &snapshots);
    assert!(broken > 0 && broken <= count.reported.iter().sum::<u64>());
}

#[test]
fn what_is_logged_at_the_same_time_is_in_order_for_each_thread() {
    let sink = Sink::default();
    let logs = Logs::builder().environment(false).format(Format::Json);
    let logs = logs.queue(64 << 20).writer(sink.clone()).build().unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(logs.layer()));
    thread::scope(|scope| {
        for thread in 0..8 {
            let dispatch = &dispatch;
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    for number in 0..500 {
                        tracing::info!(thread, number, "line");
                    }
                });
            });
        }
    });
    assert!(logs.flush(Duration::from_secs(60)));
    let mut next = [0; 8];
    for line in lines(&sink.take()) {
        let line = json(&line);
        let thread = usize::try_from(line["thread"].as_u64().unwrap()).unwrap();
        assert_eq!(line["number"], next[thread]);
        next[thread] += 1;
    }
    assert_eq!(next, [500; 8]);
}

#[test]
fn the_thread_ends_with_the_last_handle_and_writes_what_it_has() {
    let (mut reader, output) = io::pipe().unwrap();
    let logs = Logs::builder().environment(false);
    let logs = logs.writer(output).build().unwrap();
    let subscriber = tracing_subscriber::registry().with(logs.layer());
    tracing::subscriber::with_default(subscriber, || tracing::info!("the last one"));
    drop(logs);
    // It ends when the thread has dropped its output.
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.ends_with(": the last one\n"), "{text}");
}
