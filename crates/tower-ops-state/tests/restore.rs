//! A restore is all or nothing, whoever fails and whoever goes away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use tower_ops_state::{ErrorKind, Restore, State, StateBuilder};

use self::eventually::eventually;
use self::shelf::{Mode, Shelf};

#[path = "support/eventually.rs"]
mod eventually;
#[path = "support/shelf.rs"]
mod shelf;

fn shop(shelves: &[&Shelf]) -> StateBuilder {
    let builder = State::builder("shop", "1.0").instance("here");
    shelves.iter().fold(builder, |builder, shelf| {
        builder.participant((*shelf).clone())
    })
}

async fn envelope(state: &State) -> Vec<u8> {
    let mut envelope = Vec::new();
    let capture = state.capture().await.unwrap();
    capture.write_to(&mut envelope).unwrap();
    assert_eq!(capture.size(), envelope.len() as u64);
    envelope
}

async fn new_ones() -> Vec<u8> {
    let (a, b, c) = (
        Shelf::new("a", &["new a"]),
        Shelf::new("b", &["new b"]),
        Shelf::new("c", &["new c"]),
    );
    envelope(&shop(&[&a, &b, &c]).build().unwrap()).await
}

fn old_ones() -> [Shelf; 3] {
    [
        Shelf::new("a", &["old a"]),
        Shelf::new("b", &["old b"]),
        Shelf::new("c", &["old c"]),
    ]
}

fn items([a, b, c]: &[Shelf; 3]) -> String {
    [a, b, c].map(|shelf| shelf.items().join(",")).join(" | ")
}

const OLD: &str = "old a | old b | old c";
const NEW: &str = "new a | new b | new c";

#[tokio::test]
async fn all_have_the_new_state() {
    let shelves = old_ones();
    let restored = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&restored);
    let state = shop(&[&shelves[0], &shelves[1], &shelves[2]])
        .on_restored(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let new = new_ones().await;
    let report = state
        .restore(new.clone(), Restore::new().dry_run(true))
        .await;
    assert_eq!(items(&shelves), OLD);
    assert_eq!(restored.load(Ordering::SeqCst), 0);
    let report = report.unwrap();
    assert!(report.dry_run);
    assert!(
        report
            .participants
            .iter()
            .all(|it| it.changes == Some(true))
    );

    let report = state.restore(new.clone(), Restore::new()).await.unwrap();
    assert_eq!(items(&shelves), NEW);
    assert_eq!(restored.load(Ordering::SeqCst), 1);
    assert_eq!((report.instance.as_str(), report.generation), ("here", 0));
    let report = state
        .restore(new, Restore::new().dry_run(true))
        .await
        .unwrap();
    assert!(
        report
            .participants
            .iter()
            .all(|it| it.changes == Some(false))
    );
}

#[tokio::test]
async fn whoever_fails_all_have_the_old_state() {
    for at in 0..3 {
        for (mode, rolled_back) in [
            (Mode::RefuseCapture, None),
            (Mode::PanicInCapture, None),
            (Mode::RefusePrepare, None),
            (Mode::PanicInPrepare, None),
            (Mode::RefuseCommitHalfWay, Some(true)),
            (Mode::PanicInCommitHalfWay, Some(true)),
            (Mode::RefuseCommitAlways, Some(false)),
        ] {
            let shelves = old_ones();
            let torn = Arc::new(AtomicU32::new(0));
            let counter = Arc::clone(&torn);
            let state = shop(&[&shelves[0], &shelves[1], &shelves[2]])
                .on_restored(|| panic!("nothing was restored"))
                .on_inconsistent(move || {
                    counter.fetch_add(1, Ordering::SeqCst);
                })
                .build()
                .unwrap();
            let new = new_ones().await;
            shelves[at].next(mode);
            let error = state.restore(new, Restore::new()).await.unwrap_err();
            // That one refuses before it changes anything.
            assert_eq!(items(&shelves), OLD, "{at} {mode:?}: {error}");
            assert_eq!(error.rolled_back(), rolled_back, "{at} {mode:?}: {error}");
            let is_torn = u32::from(rolled_back == Some(false));
            assert_eq!(torn.load(Ordering::SeqCst), is_torn, "{at} {mode:?}");
            assert_eq!(error.participant(), Some(["a", "b", "c"][at]));
            assert!(!state.fence().is_closed());
        }
    }
}

#[tokio::test]
async fn what_hangs_is_given_up_and_rolled_back() {
    for (mode, rolled_back) in [
        (Mode::HangInPrepare, None),
        (Mode::HangInCapture, None),
        (Mode::HangInCommitHalfWay, Some(true)),
    ] {
        let shelves = old_ones();
        let state = shop(&[&shelves[0], &shelves[1], &shelves[2]])
            .restore_timeout(Duration::from_millis(100))
            .build()
            .unwrap();
        let new = new_ones().await;
        shelves[1].next(mode);
        let error = state
            .restore(new.clone(), Restore::new())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{mode:?}: {error}");
        assert_eq!(error.rolled_back(), rolled_back, "{mode:?}: {error}");
        assert_eq!(items(&shelves), OLD, "{mode:?}");
        // The thread may still be on its way out.
        eventually(async || state.restore(new.clone(), Restore::new()).await.is_ok()).await;
        assert_eq!(items(&shelves), NEW, "{mode:?}");
    }
}

#[tokio::test]
async fn given_up_before_the_first_commit_nothing_changes() {
    // Its capture, for a rollback, is the last that happens before.
    for mode in [Mode::WaitInPrepare, Mode::WaitInCapture] {
        let shelves = old_ones();
        let state = shop(&[&shelves[0], &shelves[1], &shelves[2]])
            .build()
            .unwrap();
        let new = new_ones().await;
        shelves[2].next(mode);
        let (restoring, of) = (new.clone(), state.clone());
        let restore = tokio::spawn(async move { of.restore(restoring, Restore::new()).await });
        shelves[2].reached().await;
        restore.abort();
        assert!(restore.await.unwrap_err().is_cancelled());
        shelves[2].go_on();
        eventually(async || state.capture().await.is_ok()).await;
        assert_eq!(items(&shelves), OLD, "{mode:?}");
    }
}

#[tokio::test]
async fn given_up_in_a_commit_it_goes_on_to_its_end() {
    for (then, wanted) in [(Mode::Good, NEW), (Mode::RefuseCommitHalfWay, OLD)] {
        let shelves = old_ones();
        let state = shop(&[&shelves[0], &shelves[1], &shelves[2]])
            .build()
            .unwrap();
        let new = new_ones().await;
        shelves[1].next(Mode::WaitInCommitHalfWay);
        let of = state.clone();
        let restore = tokio::spawn(async move { of.restore(new, Restore::new()).await });
        shelves[1].reached().await;
        assert_eq!(items(&shelves), "new a |  | old c");
        assert_eq!(state.capture().await.unwrap_err().kind(), ErrorKind::Busy);
        assert!(state.fence().enter().is_err());
        restore.abort();
        assert!(restore.await.unwrap_err().is_cancelled());
        shelves[2].next(then);
        shelves[1].go_on();
        eventually(async || state.capture().await.is_ok()).await;
        assert_eq!(items(&shelves), wanted);
        assert!(state.fence().enter().is_ok());
    }
}

#[tokio::test]
async fn older_schemas_are_migrated() {
    #[derive(Clone)]
    struct Before;
    impl tower_ops_state::Participant for Before {
        type Data = String;
        fn name(&self) -> &str {
            "a"
        }
        fn version(&self) -> u32 {
            1
        }
        async fn capture(&self) -> Result<String, tower_ops_state::Refusal> {
            Ok("from version 1".to_owned())
        }
        async fn commit(&self, _: String) -> Result<(), tower_ops_state::Refusal> {
            Ok(())
        }
    }
    let started = SystemTime::now();
    let before = State::builder("shop", "0.9").participant(Before).build();
    let old = envelope(&before.unwrap()).await;
    let shelf = Shelf::new("a", &[]);
    let state = shop(&[&shelf]).build().unwrap();
    let restored = state.restore(old, Restore::new()).await.unwrap();
    assert!(restored.participants[0].migrated);
    assert_eq!(restored.application_version, "0.9");
    // The envelope has milliseconds.
    let captured = started - Duration::from_millis(1)..=SystemTime::now();
    assert!(captured.contains(&restored.created));
    assert_eq!(*shelf.items(), ["from version 1"]);
}

#[tokio::test]
async fn the_gate_is_asked_and_can_be_forced() {
    let shelf = Shelf::new("a", &["old"]);
    let new = envelope(&shop(&[&Shelf::new("a", &["new"])]).build().unwrap()).await;
    for gate in [|| false, || panic!("cannot tell")] {
        let state = shop(&[&shelf]).restore_when(gate).build().unwrap();
        let error = state.restore(new.clone(), Restore::new()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotNow);
        assert_eq!(*shelf.items(), ["old"]);
    }
    let state = shop(&[&shelf]).restore_when(|| false).build().unwrap();
    state
        .restore(new, Restore::new().force(true))
        .await
        .unwrap();
    assert_eq!(*shelf.items(), ["new"]);
}

#[tokio::test]
async fn a_signature_is_asked_for() {
    let shelf = Shelf::new("a", &["signed"]);
    let state = |key: &str| shop(&[&shelf]).hmac_key(key).build().unwrap();
    let (ours, theirs) = (state("0123456789abcdef"), state("0123456789abcdeX"));
    let signed = envelope(&ours).await;
    ours.restore(signed.clone(), Restore::new()).await.unwrap();
    let error = theirs.restore(signed, Restore::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broken);
    assert!(error.message().contains("another key"), "{error}");
}

#[tokio::test]
async fn expectations_and_limits_hold_for_calls_as_well() {
    let shelf = Shelf::new("a", &["old"]);
    let state = shop(&[&shelf]).max_size(4096).build().unwrap();
    let envelope = envelope(&state).await;
    let how = Restore::new().expected_generation(3);
    let error = state.restore(envelope.clone(), how).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Generation);
    let error = state.restore(vec![b' '; 4097], Restore::new()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TooLarge);
    shelf.items().push("x".repeat(4096));
    assert_eq!(
        state.capture().await.unwrap_err().kind(),
        ErrorKind::TooLarge
    );
    state.restore(envelope, Restore::new()).await.unwrap();
    assert_eq!(*shelf.items(), ["old"]);
}

#[tokio::test]
async fn the_gate_may_close_until_the_last_moment() {
    let shelves = old_ones();
    let may_be = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&may_be);
    let state = shop(&[&shelves[0], &shelves[1], &shelves[2]])
        .restore_when(move || gate.load(Ordering::SeqCst))
        .build()
        .unwrap();
    let new = new_ones().await;
    shelves[2].next(Mode::WaitInPrepare);
    let of = state.clone();
    let restore = tokio::spawn(async move { of.restore(new, Restore::new()).await });
    shelves[2].reached().await;
    may_be.store(false, Ordering::SeqCst);
    shelves[2].go_on();
    let error = restore.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotNow);
    assert_eq!(items(&shelves), OLD);
}

#[tokio::test]
async fn they_commit_in_the_order_of_here() {
    let (a, b) = (Shelf::new("a", &["new"]), Shelf::new("b", &["new"]));
    let envelope = envelope(&shop(&[&a, &b]).build().unwrap()).await;
    let (a, b) = (Shelf::new("a", &["old"]), Shelf::new("b", &["old"]));
    let state = shop(&[&b, &a]).build().unwrap();
    a.next(Mode::WaitInCommitHalfWay);
    let of = state.clone();
    let restore = tokio::spawn(async move { of.restore(envelope, Restore::new()).await });
    a.reached().await;
    assert_eq!(*b.items(), ["new"]);
    a.go_on();
    let restored = restore.await.unwrap().unwrap();
    let names = restored.participants.iter().map(|it| it.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["b", "a"]);
}
