use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, duplex, empty};
use tokio::time::{Instant, timeout};

use super::*;
use crate::{Connections, Peer};

const MILLI: Duration = Duration::from_millis(1);
const GRACE: Duration = Duration::from_secs(2);

fn connections(check_interval: Option<Duration>) -> Connections {
    let builder = Connections::builder()
        .first_byte_timeout(None)
        .grace_timeout(GRACE)
        .check_interval(check_interval);
    builder.build().unwrap()
}

/// With an exchange in flight only a force ends the connection. It comes after the grace, at whichever
/// time of the clock the close was requested.
#[tokio::test(start_paused = true)]
async fn what_is_closed_in_the_first_moment_of_the_clock_is_forced_after_the_grace() {
    let intervals = [
        None,
        Some(Duration::from_nanos(1)),
        Some(MILLI),
        Some(40 * MILLI),
    ];
    for interval in intervals {
        let connections = connections(interval);
        let (server, _client) = duplex(64);
        let mut io = connections.accept(server, Peer::Unknown).await.unwrap();
        let connection = io.connection().clone();
        connection.begin();
        let begun = Instant::now();
        assert!(connection.request_close(CloseReason::Manual));
        let read = timeout(10 * GRACE, io.read(&mut [0; 1])).await;
        assert!(read.expect("it is forced").is_err(), "{interval:?}");
        let took = begun.elapsed();
        assert!((GRACE..2 * GRACE).contains(&took), "{interval:?}: {took:?}");
    }
}

/// The time of a close is there with its reason: the reaper must not count the grace from an earlier
/// time in between.
#[tokio::test]
async fn the_grace_of_a_close_is_never_that_of_an_earlier_one() {
    const ROUNDS: usize = 100;
    let connections = connections(None);
    let shared = &connections.shared;
    for _ in 0..ROUNDS {
        let mut tracked = Vec::new();
        for _ in 0..500 {
            let io = connections.accept(empty(), Peer::Unknown).await.unwrap();
            let connection = io.connection();
            // A close for idleness that is revoked.
            assert!(connection.close_idle());
            connection.begin();
            connection.end();
            assert!(connection.record.state.load().is_open());
            tracked.push(io);
        }
        let later = shared.clock.now() + 2 * GRACE;
        while shared.clock.now() < later {
            shared.clock.advance(GRACE);
        }
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                for io in &tracked {
                    assert!(io.connection().request_close(CloseReason::Drain));
                }
            });
            barrier.wait();
            for io in &tracked {
                let record = &io.connection().record;
                while record.state.load().is_open() {
                    std::hint::spin_loop();
                }
                let since = record.closing_since();
                assert!(since >= later, "{since:?}, before {later:?}");
            }
        });
    }
}
