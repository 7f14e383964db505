//! Every interleaving of a close and a request, and of the last events, with loom. Run by `RUSTFLAGS="--cfg tower_ops_loom" cargo test -p tower-ops-connections --lib
//! --release loom`.

use loom::future::{AtomicWaker, block_on};
use loom::model;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;
use std::future::poll_fn;
use std::task::Poll;

use crate::CloseReason;
use crate::close::state::State;
use crate::event::EventGate;

/// A request is served only if the close was not committed before.
fn begins(state: &State) -> bool {
    !state.begin().is_committed()
}

#[test]
fn an_idle_close_and_a_request_never_both_win() {
    model(|| {
        let state = Arc::new(State::default());
        let reaper = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.close_idle())
        };
        let manager = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.commit())
        };
        let began = begins(&state);
        let (asked, closed) = (reaper.join().unwrap(), manager.join().unwrap());
        assert!(!(closed && began), "closed with a request in flight");
        assert!(asked || !closed);
        let word = state.load();
        assert_eq!(word.is_committed(), closed);
        // Revoked, or never requested.
        assert!(!began || word.is_open());
    });
}

#[test]
fn a_force_loses_against_a_request_that_revokes_an_idle_close() {
    model(|| {
        let state = Arc::new(State::default());
        let reaper = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.close_idle() && state.force())
        };
        let began = begins(&state);
        let forced = reaper.join().unwrap();
        assert_eq!(state.load().is_forced(), forced);
        assert!(!(forced && began), "cut off with a request in flight");
    });
}

#[test]
fn the_reaper_ends_a_close_only_while_nothing_is_in_flight() {
    for reason in [CloseReason::MaxAge, CloseReason::Drain, CloseReason::Manual] {
        model(move || {
            let state = Arc::new(State::default());
            state.close(reason);
            let reaper = {
                let state = Arc::clone(&state);
                // As it judges, and carries out later.
                thread::spawn(move || !state.load().is_busy() && state.force_unless_busy())
            };
            let began = !state.begin().is_forced();
            let forced = reaper.join().unwrap();
            assert!(!(forced && began), "cut off with a request in flight");
            assert_eq!(state.load().reason(), Some(reason));
        });
    }
}

#[test]
fn a_request_revokes_only_an_idle_close() {
    model(|| {
        let state = Arc::new(State::default());
        let reaper = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.close_idle())
        };
        let drain = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.close(CloseReason::Drain))
        };
        state.begin();
        state.end();
        reaper.join().unwrap();
        assert!(drain.join().unwrap(), "an idle close was in its way");
        assert_eq!(state.load().reason(), Some(CloseReason::Drain));
        assert_eq!(state.load().in_flight(), 0);
    });
}

/// The waiting task registers its waker and then reads the state; the closing task changes the state
/// and then wakes. loom finds a wait that nobody ends.
#[test]
fn whatever_waits_is_woken_by_a_force() {
    model(|| {
        let shared = Arc::new((State::default(), AtomicWaker::new()));
        let reaper = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (state, waker) = &*shared;
                state.close(CloseReason::Drain);
                waker.wake();
                state.force();
                waker.wake();
            })
        };
        block_on(poll_fn(|cx| {
            let (state, waker) = &*shared;
            waker.register_by_ref(cx.waker());
            if state.load().is_forced() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        reaper.join().unwrap();
    });
}

#[test]
fn closed_is_published_once_and_last() {
    model(|| {
        let shared = Arc::new((
            EventGate::default(),
            AtomicU32::new(0),
            AtomicBool::new(false),
        ));
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (gate, closed, ended) = &*shared;
                    if gate.enter() {
                        assert!(!ended.load(Ordering::SeqCst), "after Closed");
                        if gate.leave() {
                            ended.store(true, Ordering::SeqCst);
                            closed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        let (gate, closed, ended) = &*shared;
        if gate.close() {
            ended.store(true, Ordering::SeqCst);
            closed.fetch_add(1, Ordering::SeqCst);
        }
        for publisher in publishers {
            publisher.join().unwrap();
        }
        assert_eq!(closed.load(Ordering::SeqCst), 1);
    });
}
