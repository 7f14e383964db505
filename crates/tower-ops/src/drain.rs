use std::collections::HashSet;
use std::time::Duration;

use tower_ops_connections::Connections;
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
    lifecycle.on_drain("connections", async move |drain| {
        let idle = async {
            let closed = connections.drain(UNTIL_TOLD);
            // Requests that came by other servers, and tasks, are on no connection here.
            match &tracker {
                Some(tracker) => drop(tokio::join!(closed, tracker.wait_idle())),
                None => drop(closed.await),
            }
        };
        tokio::select! {
            () = idle => {}
            () = drain.expired() => cut(&drain, &connections, tracker.as_ref()).await,
        }
    });
}

async fn cut(drain: &Drain, connections: &Connections, tracker: Option<&RequestTracker>) {
    // First: what is cut is in flight no more.
    let mut in_flight = tracker.map(RequestTracker::in_flight).unwrap_or_default();
    let mut awaited = Vec::new();
    if let Some(tracker) = tracker
        && let Err(running) = tracker.wait_idle_timeout(Duration::ZERO).await
    {
        awaited.extend(running.requests().iter().map(|request| request.id));
    }
    let report = connections.drain(Duration::ZERO).await;

    let cut: HashSet<u64> = report.cut.iter().map(|connection| connection.id).collect();
    in_flight.retain(|request| {
        let is_cut = request.connection.is_some_and(|id| cut.contains(&id));
        is_cut || awaited.contains(&request.id)
    });
    let mut named = HashSet::new();
    for request in &in_flight {
        drain.aborted(request.to_string());
        named.extend(request.connection);
    }
    for connection in report.cut.iter().filter(|it| !named.contains(&it.id)) {
        drain.aborted(connection.to_string());
    }
    let unnamed = report.forced.saturating_sub(report.cut.len());
    drain.aborted_unnamed(u64::try_from(unnamed).unwrap_or(u64::MAX));
}
