//! Which series there are: what never happened has none, and errors of the accept loop are counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::io::DuplexStream;
use tower_ops_connections::{Acceptor, Connections, Listener, Peer};

/// What was counted, by name and the values of its labels.
fn counters(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    all.filter_map(|(key, _, _, value)| {
        let labels: Vec<_> = key.key().labels().map(|it| it.value()).collect();
        let name = format!("{}{labels:?}", key.key().name());
        match value {
            DebugValue::Counter(count) => Some((name, count)),
            _ => None,
        }
    })
    .collect()
}

#[tokio::test]
async fn what_never_happened_has_no_series_of_zeros() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _connections = Connections::builder()
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    let counters = counters(&snapshotter);
    for late in [
        "server_connections_rejected_total",
        "server_connections_accept_errors_total",
        "server_streams_reset_total",
    ] {
        let found = counters.keys().find(|name| name.starts_with(late));
        assert_eq!(found, None);
    }
    // Why connections end is known ahead, and a dozen.
    let closed = "server_connections_closed_total";
    let closed = counters.keys().filter(|name| name.starts_with(closed));
    assert_eq!(closed.count(), 12);
}

struct Scripted(VecDeque<io::Error>);

impl Listener for Scripted {
    type Io = DuplexStream;

    async fn next(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.pop_front() {
            Some(error) => Err(error),
            None => Ok((tokio::io::duplex(1).0, Peer::Unknown)),
        }
    }

    fn address(&self) -> String {
        "nowhere".to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_accept_loop_are_counted_by_what_they_are() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let connections = Connections::builder().recorder(Arc::new(recorder));
    let connections = connections.build().unwrap();
    let errors = [
        io::Error::from_raw_os_error(24),
        io::Error::from_raw_os_error(23),
        // Of one connection, which went away: nothing that the loop waits after.
        io::ErrorKind::ConnectionAborted.into(),
        io::ErrorKind::OutOfMemory.into(),
    ];
    let mut acceptor = Acceptor::new(Scripted(errors.into()));
    let _io = connections.accept_from(&mut acceptor).await.unwrap();
    let counters = counters(&snapshotter);
    let errors = "server_connections_accept_errors_total";
    let of = |error| counters[&format!("{errors}[\"default\", \"{error}\"]")];
    assert_eq!((of("descriptors"), of("other")), (2, 1), "{counters:?}");
}
