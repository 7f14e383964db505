use std::collections::HashSet;
use std::time::Duration;

use tokio::time::sleep;
use tower_ops_connections::{Connections, DrainReport};
use tower_ops_lifecycle::{Drain, Lifecycle};
use tower_ops_requests::RequestTracker;

/// Longer than any drain: its deadline is the lifecycle's.
pub(crate) const UNTIL_TOLD: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Has the drain of a process last until its connections are closed and its requests
/// have ended, and names those that were cut off at the deadline.
pub(crate) fn take_part(
    lifecycle: &Lifecycle,
    connections: &Connections,
    tracker: Option<&RequestTracker>,
) {
    let connections = connections.clone();
    let tracker = tracker.cloned();
    lifecycle.on_drain_independent("connections", async move |drain| {
        let idle = async {
            let closed = connections.drain(UNTIL_TOLD);
            // Requests that came by other servers, and tasks, are on no connection here.
            match &tracker {
                Some(tracker) if drain.has_untracked_servers() => {
                    tokio::join!(closed, settled(tracker)).0
                }
                Some(tracker) => tokio::join!(closed, tracker.wait_idle()).0,
                None => closed.await,
            }
        };
        tokio::select! {
            report = idle => name_lost(&drain, &report),
            () = drain.expired() => cut(&drain, &connections, tracker.as_ref()).await,
        }
    });
}

/// A server that does not show when it has stopped may still read a request that it accepted
/// before: idle is when nothing has begun for a while.
const SETTLED: Duration = Duration::from_millis(500);

async fn settled(tracker: &RequestTracker) {
    loop {
        tracker.wait_idle().await;
        let ended = tracker.stats().total();
        sleep(SETTLED).await;
        if tracker.is_idle() && tracker.stats().total() == ended {
            return;
        }
    }
}

/// Names the connections that broke with requests in flight: nobody cut them off, but their
/// end was not in order either.
fn name_lost(drain: &Drain, report: &DrainReport) {
    for connection in &report.broken {
        drain.aborted(format!("{connection}, lost"));
    }
    drain.aborted_unnamed(count(report.lost.saturating_sub(report.broken.len())));
}

async fn cut(drain: &Drain, connections: &Connections, tracker: Option<&RequestTracker>) {
    // First: what is cut is in flight no more.
    let in_flight = tracker.map(RequestTracker::in_flight).unwrap_or_default();
    let awaited = match tracker {
        Some(tracker) => tracker.wait_idle_timeout(Duration::ZERO).await.err(),
        None => None,
    };
    let report = connections.drain(Duration::ZERO).await;
    name_lost(drain, &report);

    // Everything on a connection of ours is cut with it.
    let mut busy = HashSet::new();
    let mut elsewhere = 0;
    for request in &in_flight {
        match request.connection {
            Some(id) => {
                busy.insert(id);
                drain.aborted(request.to_string());
            }
            None => elsewhere += 1,
        }
    }
    // Of the others, streams and the like are not waited for, and not counted.
    if let Some(running) = awaited {
        let mut left = running.count().min(elsewhere);
        let named = running.requests().iter();
        for request in named.filter(|it| it.connection.is_none()).take(left) {
            drain.aborted(request.to_string());
            left -= 1;
        }
        drain.aborted_unnamed(count(left));
    }
    let mut idle = report.forced.saturating_sub(busy.len());
    let cut = report.cut.iter().filter(|it| !busy.contains(&it.id));
    for connection in cut.take(idle) {
        drain.aborted(connection.to_string());
        idle -= 1;
    }
    drain.aborted_unnamed(count(idle));
}

fn count(many: usize) -> u64 {
    u64::try_from(many).unwrap_or(u64::MAX)
}
