//! Handles on several threads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::sync::{Arc, Barrier};
use std::thread;

use tower_ops_lifecycle::{Phase, Trigger};

use self::timed::builder;

#[path = "support/timed.rs"]
mod timed;

#[test]
fn of_many_triggers_one_is_the_first_and_every_caller_sees_it_stopping() {
    for _ in 0..500 {
        let lifecycle = builder().on_second_signal(|_, _| {}).build().unwrap();
        let barrier = Arc::new(Barrier::new(4));
        let triggers = [Trigger::PreStop, Trigger::Api, Trigger::Terminate];
        let threads = triggers.map(|trigger| {
            let (lifecycle, barrier) = (lifecycle.clone(), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                let first = lifecycle.trigger(trigger);
                assert!(lifecycle.phase().is_stopping());
                (first, trigger)
            })
        });
        barrier.wait();
        lifecycle.mark_ready();
        let first: Vec<_> = threads
            .map(|it| it.join().unwrap())
            .into_iter()
            .filter_map(|(first, trigger)| first.then_some(trigger))
            .collect();
        assert_eq!(first.len(), 1);
        assert_eq!(lifecycle.triggered_by(), Some(first[0]));
        assert_eq!(lifecycle.phase(), Phase::PreDraining);
    }
}

#[test]
fn handles_go_to_any_thread() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<tower_ops_lifecycle::Lifecycle>();
    is_shared::<tower_ops_lifecycle::LifecycleBuilder>();
    is_shared::<tower_ops_lifecycle::DrainToken>();
    is_shared::<tower_ops_lifecycle::Drain>();
    is_shared::<tower_ops_lifecycle::Activity>();
    is_shared::<tower_ops_lifecycle::PreStop>();
    is_shared::<tower_ops_lifecycle::ConnectionCloseLayer>();
    is_shared::<tower_ops_lifecycle::ShutdownReport>();
    is_shared::<tower_ops_lifecycle::Subscription>();
}
