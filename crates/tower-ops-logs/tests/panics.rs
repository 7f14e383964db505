//! A panic is one event with the ids of its exchange, and what was done about panics before is still
//! done.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::io::{self, Write};
use std::panic;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use serde_json::Value as Json;
use tower_ops_logs::{Format, Logs};
use tower_ops_observe::RequestIdScope;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_becomes_one_event_and_the_hook_of_before_is_called() {
    let before = Arc::new(Mutex::new(0));
    let count = Arc::clone(&before);
    panic::set_hook(Box::new(move |_| *count.lock().unwrap() += 1));

    let sink = Sink::default();
    let logs = Logs::builder().environment(false).format(Format::Json);
    let logs = logs.writer(sink.clone()).build().unwrap();
    let guard = logs.install().unwrap();
    logs.install().expect_err("there is one");
    // Twice makes no second event.
    drop(logs.activate());
    assert!(Logs::active().is_some());

    let name = "of \"the\"\nthread";
    let thread = std::thread::Builder::new().name(name.to_owned());
    let thread = thread.spawn(|| {
        let id = HeaderValue::from_static("of-the-request");
        let mut scope = RequestIdScope::new(Some(id));
        scope.enter(|| panic!("no {}\n\u{1b}[31m", "luck"));
    });
    thread.unwrap().join().unwrap_err();
    drop(guard);

    assert_eq!(*before.lock().unwrap(), 1);
    let text = String::from_utf8(std::mem::take(&mut *sink.0.lock().unwrap())).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    let line: Json = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["target"], "tower_ops::panic");
    assert_eq!(line["message"], "panicked: no luck\n\u{1b}[31m");
    assert_eq!(line["request_id"], "of-the-request");
    assert_eq!(line["thread"], name);
    let location = line["location"].as_str().unwrap();
    assert!(location.contains("tests/panics.rs:"), "{location}");

    // Nor does one that nobody waits for.
    assert!(logs.flush(Duration::from_secs(60)));
    assert!(sink.0.lock().unwrap().is_empty());
}
