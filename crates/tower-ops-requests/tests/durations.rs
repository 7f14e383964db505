//! "For ever" is a duration like any other: nothing overflows, nothing panics.

use std::future::{pending, ready};
use std::time::Duration;

use tokio::time::advance;
use tower_ops_requests::RequestTracker;

const FOR_EVER: [Duration; 4] = [
    Duration::MAX,
    Duration::from_secs(u64::MAX),
    Duration::from_millis(u64::MAX),
    Duration::from_secs(1 << 40),
];

#[tokio::test(start_paused = true)]
async fn a_request_that_may_take_for_ever_is_never_slow() {
    for age in FOR_EVER {
        let builder = RequestTracker::builder().slow_after(age);
        let tracker = builder.build().expect("a valid configuration");
        let watching = tokio::spawn(tracker.watch());
        let job = tracker.track("job", (), pending::<Result<(), ()>>());
        advance(Duration::from_secs(3_600)).await;
        assert!(!watching.is_finished());
        drop(job);
        watching.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_or_a_job_may_take_for_ever() {
    for limit in FOR_EVER {
        let tracker = RequestTracker::new();
        let job = tracker.track_timeout("job", (), limit, ready(Ok::<_, ()>(7)));
        assert_eq!(job.await.map(Result::ok), Ok(Some(7)));
        assert!(tracker.wait_idle_timeout(limit).await.is_ok());

        let running = tracker.track_timeout("job", (), limit, pending::<Result<(), ()>>());
        let waiting = tracker.clone();
        let waiting = tokio::spawn(async move { waiting.wait_idle_timeout(limit).await });
        advance(Duration::from_secs(3_600)).await;
        assert!(!waiting.is_finished());
        drop(running);
        assert!(waiting.await.expect("it does not panic").is_ok());
    }
}
