//! Events of `tracing`, in a process of their own: what other threads do decides which are made.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

#[path = "support/script.rs"]
mod script;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use script::{Mood, Script};
use tokio::time::sleep;
use tower_ops_health::{Check, Health};
use tracing_subscriber::layer::SubscriberExt;

/// Counts the events of this crate.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        #[derive(Default)]
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?} ");
            }
        }
        if event.metadata().target().starts_with("tower_ops_health") {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let level = event.metadata().level();
            self.0.lock().unwrap().push(format!("{level} {}", fields.0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_an_event_and_a_run_is_not() {
    let events = Events::default();
    let subscriber = tracing_subscriber::registry().with(events.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let script = Script::new();
    let health = Health::builder()
        .jitter(0.0)
        .check(script.check("db").critical())
        .check(Check::new("evil", || async {
            Err::<(), _>("line\nforged=true")
        }))
        .build()
        .unwrap();
    tokio::spawn(health.run());
    sleep(Duration::from_secs(101)).await;
    script.set(Mood::Down);
    sleep(Duration::from_secs(100)).await;
    let events = events.0.lock().unwrap().clone();
    assert_eq!(events.len(), 3, "{events:#?}");
    let of = |name: &'static str| events.iter().filter(move |line| line.contains(name));
    assert!(of("\"db\"").next().unwrap().starts_with("INFO "));
    assert!(
        of("\"db\"")
            .nth(1)
            .unwrap()
            .contains("to=\"down\" error=\"refused\"")
    );
    assert!(
        of("\"evil\"")
            .next()
            .unwrap()
            .contains(r#"error="line\nforged=true""#)
    );
}
