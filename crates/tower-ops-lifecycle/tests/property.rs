//! Whatever happens in whatever order: phases never go back, it ends in time, and there
//! is one report.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use tokio::time::{Instant, sleep, timeout};
use tower_ops_lifecycle::{Lifecycle, Phase, ShutdownEnding, Trigger};

use self::timed::ms;

#[path = "support/timed.rs"]
mod timed;

#[derive(Clone, Copy, Debug)]
enum Event {
    Wait(u64),
    Ready,
    Trigger(Trigger),
    Run,
    RunAndDrop(u64),
    Step { fails: bool },
    HangingStep,
    Participant { takes: u64, panics: bool },
    HangingParticipant,
    Hook { takes: u64, panics: bool },
    HangingHook,
    Guard { held: u64 },
    Touch,
    Serving,
}

fn event() -> impl Strategy<Value = Event> {
    let millis = || 0..12_000_u64;
    let trigger = prop_oneof![
        Just(Trigger::Terminate),
        Just(Trigger::Interrupt),
        Just(Trigger::PreStop),
        Just(Trigger::Api),
    ];
    prop_oneof![
        4 => millis().prop_map(Event::Wait),
        2 => Just(Event::Ready),
        2 => trigger.prop_map(Event::Trigger),
        1 => Just(Event::Run),
        1 => millis().prop_map(Event::RunAndDrop),
        1 => any::<bool>().prop_map(|fails| Event::Step { fails }),
        1 => Just(Event::HangingStep),
        2 => (millis(), any::<bool>()).prop_map(|(takes, panics)| Event::Participant { takes, panics }),
        1 => Just(Event::HangingParticipant),
        2 => (millis(), any::<bool>()).prop_map(|(takes, panics)| Event::Hook { takes, panics }),
        1 => Just(Event::HangingHook),
        1 => millis().prop_map(|held| Event::Guard { held }),
        1 => Just(Event::Touch),
        1 => Just(Event::Serving),
    ]
}

async fn happen(lifecycle: &Lifecycle, event: Event) {
    match event {
        Event::Wait(millis) => sleep(ms(millis)).await,
        Event::Ready => drop(lifecycle.mark_ready()),
        Event::Trigger(trigger) => drop(lifecycle.trigger(trigger)),
        Event::Run => drop(lifecycle.run()),
        Event::RunAndDrop(millis) => drop(timeout(ms(millis), lifecycle.run()).await),
        Event::Step { fails } => {
            let result = if fails {
                Err(io::Error::other("no"))
            } else {
                Ok(())
            };
            drop(lifecycle.step("step", async { result }).await);
        }
        Event::HangingStep => {
            let lifecycle = lifecycle.clone();
            tokio::spawn(async move { lifecycle.step("hangs", pending::<io::Result<()>>()).await });
        }
        Event::Participant { takes, panics } => lifecycle.on_drain("some", async move |drain| {
            sleep(ms(takes)).await;
            drain.aborted("one");
            assert!(!panics, "as planned");
        }),
        Event::HangingParticipant => lifecycle.on_drain("hangs", async |_| pending().await),
        Event::Hook { takes, panics } => lifecycle.on_stop("some", async move || {
            sleep(ms(takes)).await;
            assert!(!panics, "as planned");
        }),
        Event::HangingHook => lifecycle.on_stop("hangs", async || pending::<()>().await),
        Event::Guard { held } => {
            let guard = lifecycle.drain_guard("guard");
            tokio::spawn(async move {
                sleep(ms(held)).await;
                drop(guard);
            });
        }
        Event::Touch => lifecycle.activity().touch(),
        Event::Serving => lifecycle.mark_serving(),
    }
}

struct Outcome {
    phases: Vec<Phase>,
    reports: Vec<String>,
    ending: ShutdownEnding,
    exits: usize,
    signals: usize,
    taken: std::time::Duration,
    bound: std::time::Duration,
}

async fn live(events: &[Event], quiet: bool) -> Outcome {
    let exits = Arc::new(AtomicUsize::new(0));
    let exit = Arc::clone(&exits);
    let lifecycle = Lifecycle::builder()
        .signals(false)
        .wait_for_quiet(quiet.then(|| ms(900)))
        .on_second_signal(move |_, _| {
            exit.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let mut subscription = lifecycle.subscribe();
    let mut phases = vec![subscription.phase()];
    let watched = tokio::spawn(async move {
        while let Some(phase) = subscription.changed().await {
            phases.push(phase);
        }
        phases
    });
    let mut polled = vec![lifecycle.phase()];
    let mut signals = 0;
    for event in events {
        signals += usize::from(matches!(event, Event::Trigger(it) if it.is_signal()));
        happen(&lifecycle, *event).await;
        polled.push(lifecycle.phase());
    }
    let began = Instant::now();
    lifecycle.shutdown();
    let exit_deadline = lifecycle.exit_deadline().unwrap();
    let bound = exit_deadline
        .saturating_duration_since(began)
        .max(ms(1_000));
    let report = lifecycle.run().await;
    let taken = began.elapsed();
    polled.push(lifecycle.phase());
    assert!(polled.is_sorted(), "{polled:?}");
    let again = lifecycle.run().await;
    Outcome {
        phases: watched.await.unwrap(),
        reports: vec![report.to_string(), again.to_string()],
        ending: report.ending(),
        exits: exits.load(Ordering::Relaxed),
        signals,
        taken,
        bound,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn phases_never_go_back_and_there_is_one_report(
        events in vec(event(), 0..24),
        quiet in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome = runtime.block_on(live(&events, quiet));
        let phases = &outcome.phases;
        prop_assert!(phases.windows(2).all(|pair| pair[0] < pair[1]), "{phases:?}");
        prop_assert_eq!(phases.last(), Some(&Phase::Stopped));
        prop_assert_eq!(&outcome.reports[0], &outcome.reports[1]);
        let at_once = matches!(outcome.ending, ShutdownEnding::SecondSignal(_));
        prop_assert!(!at_once || outcome.exits > 0);
        prop_assert_eq!(outcome.exits, outcome.signals.saturating_sub(1));
        prop_assert!(outcome.taken <= outcome.bound, "{:?}", outcome.taken);
    }
}
