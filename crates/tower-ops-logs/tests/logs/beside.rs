//! Other layers, and another subscriber, beside the log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_ops_logs::{Format, Logs};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::sink::{Log, Sink, json, lines};

/// Keeps the levels of all events.
#[derive(Clone, Default)]
struct Levels(Arc<Mutex<Vec<String>>>);

impl Levels {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0
            .lock()
            .unwrap()
            .push(event.metadata().level().to_string());
    }
}

fn logs(format: Format) -> (Logs, Sink) {
    let sink = Sink::default();
    let logs = Logs::builder().environment(false).format(format);
    (logs.writer(sink.clone()).build().unwrap(), sink)
}

fn events() {
    let span = tracing::debug_span!("span", of_span = 1).entered();
    tracing::trace!("1");
    tracing::debug!("2");
    tracing::info!("3");
    tracing::error!("4");
    drop(span);
}

fn written(logs: &Logs, sink: &Sink) -> Vec<String> {
    assert!(logs.flush(Duration::from_secs(60)));
    lines(&sink.take())
}

#[test]
fn each_layer_sees_what_it_wants_before_and_after_a_change() {
    let (logs, sink) = logs(Format::Json);
    let (all, warnings) = (Levels::default(), Levels::default());
    let subscriber = tracing_subscriber::registry()
        .with(all.clone())
        .with(logs.layer())
        .with(warnings.clone().with_filter(LevelFilter::WARN));
    tracing::subscriber::with_default(subscriber, || {
        events();
        assert_eq!(all.take(), ["TRACE", "DEBUG", "INFO", "ERROR"]);
        assert_eq!(warnings.take(), ["ERROR"]);
        assert_eq!(written(&logs, &sink).len(), 2);
        logs.set_filter("debug", None).unwrap();
        written(&logs, &sink);
        all.take();
        warnings.take();
        events();
        assert_eq!(all.take(), ["TRACE", "DEBUG", "INFO", "ERROR"]);
        assert_eq!(warnings.take(), ["ERROR"]);
        let lines = written(&logs, &sink);
        assert_eq!(lines.len(), 3);
        // Now that the span is wanted, its fields are there.
        assert!(lines.iter().all(|line| json(line)["of_span"] == 1));
        logs.set_filter("off", None).unwrap();
        events();
        assert_eq!(written(&logs, &sink), [""; 0]);
        assert_eq!(warnings.take(), ["ERROR"]);
    });
}

#[test]
fn two_logs_do_not_double_the_fields_of_spans() {
    let (first, first_sink) = logs(Format::Json);
    let (second, second_sink) = logs(Format::Text);
    let registry = tracing_subscriber::registry();
    let subscriber = registry.with(first.layer()).with(second.layer());
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("span", a = 1, b = tracing::field::Empty);
        span.record("b", 2);
        let _entered = span.enter();
        tracing::info!("message");
    });
    let line = written(&first, &first_sink).remove(0);
    assert!(
        line.ends_with(r#""message":"message","a":1,"b":2}"#),
        "{line}"
    );
    let line = written(&second, &second_sink).remove(0);
    assert!(line.ends_with(": message a=1 b=2"), "{line}");
}

#[test]
fn beside_the_formatting_layer_of_tracing_subscriber() {
    let (logs, sink) = logs(Format::Json);
    let text = Sink::default();
    let writer = text.clone();
    let fmt = tracing_subscriber::fmt::layer().with_ansi(false);
    let subscriber = tracing_subscriber::registry()
        .with(fmt.with_writer(move || writer.clone()))
        .with(logs.layer());
    tracing::subscriber::with_default(subscriber, events);
    assert_eq!(written(&logs, &sink).len(), 2);
    assert_eq!(lines(&text.take()).len(), 4);
}

#[test]
fn a_subscriber_that_is_not_ours_keeps_its_events() {
    let log = Log::new(Logs::builder().format(Format::Json));
    let other = Levels::default();
    let subscriber = tracing_subscriber::registry().with(other.clone());
    tracing::subscriber::with_default(subscriber, events);
    assert_eq!(other.take().len(), 4);
    assert_eq!(log.lines(), [""; 0]);
    tracing::info!("here");
    assert_eq!(log.lines().len(), 1);
}
