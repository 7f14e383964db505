use std::collections::HashSet;
use std::time::Duration;

use tokio::time::sleep;
use tower_ops_connections::{Connections, DrainReport};
use tower_ops_lifecycle::{Drain, Lifecycle};
use tower_ops_requests::RequestTracker;

/// How long no request may begin on a server that does not show when it has stopped, until it
/// counts as idle: it may still read a request that it accepted before.
const SETTLE: Duration = Duration::from_millis(500);

/// Makes the connections and the requests one participant of the process's drain. It is done when
/// the connections are closed and the requests have ended. At the drain's deadline it cuts off the
/// others, and reports them.
pub(crate) fn register(
    lifecycle: &Lifecycle,
    connections: &Connections,
    tracker: Option<&RequestTracker>,
) {
    let connections = connections.clone();
    let tracker = tracker.cloned();
    lifecycle.on_drain_independent("connections", async move |drain| {
        tokio::select! {
            report = ended(&drain, &connections, tracker.as_ref()) => report_lost(&drain, &report),
            () = drain.expired() => cut_off(&drain, &connections, tracker.as_ref()).await,
        }
    });
}

/// Waits without a limit: the drain has one.
async fn ended(
    drain: &Drain,
    connections: &Connections,
    tracker: Option<&RequestTracker>,
) -> DrainReport {
    let closed = connections.drain(None);
    let Some(tracker) = tracker else {
        return closed.await;
    };
    // Tasks, and requests that came by other servers, are on no connection of ours.
    let idle = async {
        tracker.wait_idle().await;
        if drain.has_untracked_servers() {
            settled(tracker).await;
        }
    };
    tokio::join!(closed, idle).0
}

async fn settled(tracker: &RequestTracker) {
    loop {
        tracker.wait_idle().await;
        let ended = tracker.stats().total();
        sleep(SETTLE).await;
        if tracker.is_idle() && tracker.stats().total() == ended {
            return;
        }
    }
}

/// Reports the connections that failed with requests in flight: nothing here cut them off, but
/// their requests did not end in order.
fn report_lost(drain: &Drain, report: &DrainReport) {
    for connection in &report.broken {
        drain.aborted(format!("{connection}, lost"));
    }
    drain.aborted_unnamed(count(report.lost.saturating_sub(report.broken.len())));
}

async fn cut_off(drain: &Drain, connections: &Connections, tracker: Option<&RequestTracker>) {
    // First, as what is cut off is not in flight any more.
    let in_flight = tracker.map(RequestTracker::in_flight).unwrap_or_default();
    let awaited = match tracker {
        Some(tracker) => tracker.wait_idle_timeout(Duration::ZERO).await.err(),
        None => None,
    };
    let report = connections.drain(Duration::ZERO).await;
    report_lost(drain, &report);

    // A connection of ours is cut off with all of its requests.
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
    // Of the others, the drain does not wait for streams and the like, so they are not reported.
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
