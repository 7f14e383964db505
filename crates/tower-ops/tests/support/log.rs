//! What is logged by this thread.
#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes in what is logged meanwhile.
    pub(crate) fn of<R>(&self, act: impl FnOnce() -> R) -> R {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, act)
    }

    /// Whether there is a line of that level with this in it.
    pub(crate) fn has(&self, level: &str, part: &str) -> bool {
        let log = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&log);
        let found = |line: &str| line.contains(level) && line.contains(part);
        text.lines().any(found)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
