//! A log whose lines a test reads.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use tower_ops_logs::{Logs, LogsBuilder};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

/// What was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log that is this thread's.
pub(crate) struct Log {
    pub(crate) logs: Logs,
    sink: Sink,
    _default: DefaultGuard,
}

impl Log {
    pub(crate) fn new(builder: LogsBuilder) -> Self {
        let sink = Sink::default();
        let builder = builder.environment(false).writer(sink.clone());
        let logs = builder.build().unwrap();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        Self {
            _default: tracing::subscriber::set_default(subscriber),
            logs,
            sink,
        }
    }

    /// The lines since the last time.
    pub(crate) fn lines(&self) -> Vec<String> {
        assert!(self.logs.flush(Duration::from_secs(60)));
        lines(&self.sink.take())
    }

    pub(crate) fn json(&self) -> Vec<Json> {
        self.lines().iter().map(|line| json(line)).collect()
    }

    /// The only line since the last time.
    pub(crate) fn one(&self) -> Json {
        let mut lines = self.json();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }
}

pub(crate) fn lines(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let text = str::from_utf8(bytes).unwrap();
    let text = text.strip_suffix('\n').expect("the last line ends");
    text.split('\n').map(str::to_owned).collect()
}

/// Reads a line in which no object has a key twice.
pub(crate) fn json(line: &str) -> Json {
    let value: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(value.is_object(), "{line}");
    serde_json::from_str::<Unique>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    value
}

/// A value in which no object has a key twice; the names, for their lengths.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some((key, Self)) = map.next_entry::<String, Self>()? {
            if key.chars().count() > 64 {
                return Err(A::Error::custom(format_args!("the key {key} is long")));
            }
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("the key {key} stands twice")));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}
