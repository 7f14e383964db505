//! A subscriber that remembers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses its part of it; clippy exempts the tests themselves"
)]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context as SpanContext, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Remembers every span and event of this thread.
#[derive(Clone, Default)]
pub(crate) struct Recorder(pub(crate) Arc<Mutex<Recorded>>);

#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) spans: Vec<SpanRecord>,
    events: Vec<EventRecord>,
}

#[derive(Clone, Debug)]
pub(crate) struct EventRecord {
    pub(crate) target: &'static str,
    pub(crate) level: Level,
    message: String,
    fields: Vec<(&'static str, String)>,
    /// The number of the span that it stood in.
    pub(crate) span: Option<usize>,
}

impl EventRecord {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| *field == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice: {:?}", self.fields);
        value.map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Default)]
pub(crate) struct SpanRecord {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) parent: Option<usize>,
    /// In the order of their recording: a field that is recorded twice is here twice.
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) closed: bool,
}

/// A span's number, which unlike its id is not used again.
struct Number(usize);

impl SpanRecord {
    /// A field's value. It must not have been recorded more than once.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| *field == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice: {:?}", self.fields);
        value.map(|(_, value)| value.as_str())
    }

    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().rev();
        let value = values.find(|(field, _)| *field == name);
        value.map(|(_, value)| value.as_str())
    }
}

impl Recorder {
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let recorder = Self::default();
        let subscriber = Registry::default().with(recorder.clone());
        let guard = tracing::subscriber::set_default(subscriber);
        (recorder, guard)
    }

    /// The spans of exchanges.
    pub(crate) fn requests(&self) -> Vec<SpanRecord> {
        self.named("request")
    }

    /// The only exchange's span.
    pub(crate) fn request(&self) -> SpanRecord {
        let [span] = <[_; 1]>::try_from(self.requests()).ok().unwrap();
        span
    }

    /// The events, each in the exchange of that number.
    pub(crate) fn events(&self) -> Vec<(String, Option<usize>)> {
        let events = std::mem::take(&mut self.0.lock().unwrap().events);
        let events = events.into_iter();
        events.map(|event| (event.message, event.span)).collect()
    }

    /// The spans of that name.
    pub(crate) fn named(&self, name: &str) -> Vec<SpanRecord> {
        let spans = self.0.lock().unwrap().spans.clone();
        spans.into_iter().filter(|span| span.name == name).collect()
    }

    /// The events of the access log.
    pub(crate) fn access(&self) -> Vec<EventRecord> {
        let events = self.0.lock().unwrap().events.clone();
        let ours = |event: &EventRecord| event.target == "tower_ops::access";
        events.into_iter().filter(ours).collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: SpanContext<'_, S>) {
        let span = cx.span(id).unwrap();
        let number = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
            span.extensions().get::<Number>().map(|number| number.0)
        };
        let mut record = SpanRecord {
            name: span.name(),
            target: span.metadata().target(),
            parent: span.parent().and_then(number),
            ..SpanRecord::default()
        };
        attributes.record(&mut Fields(&mut record.fields));
        let spans = &mut self.0.lock().unwrap().spans;
        span.extensions_mut().insert(Number(spans.len()));
        spans.push(record);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: SpanContext<'_, S>) {
        let number = cx.span(id).unwrap().extensions().get::<Number>().unwrap().0;
        let spans = &mut self.0.lock().unwrap().spans;
        values.record(&mut Fields(&mut spans[number].fields));
    }

    fn on_event(&self, event: &Event<'_>, cx: SpanContext<'_, S>) {
        let mut fields = Vec::new();
        event.record(&mut Fields(&mut fields));
        let span = cx.event_span(event);
        let number = span.map(|span| span.extensions().get::<Number>().unwrap().0);
        let at = fields.iter().position(|(name, _)| *name == "message");
        let message = at.map_or_else(String::new, |at| fields.remove(at).1);
        let event = EventRecord {
            target: event.metadata().target(),
            level: *event.metadata().level(),
            message,
            fields,
            span: number,
        };
        self.0.lock().unwrap().events.push(event);
    }

    fn on_close(&self, id: Id, cx: SpanContext<'_, S>) {
        let number = cx
            .span(&id)
            .unwrap()
            .extensions()
            .get::<Number>()
            .unwrap()
            .0;
        self.0.lock().unwrap().spans[number].closed = true;
    }
}

struct Fields<'a>(&'a mut Vec<(&'static str, String)>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}
