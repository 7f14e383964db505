//! The thread: takes all lines that wait, writes them at once, and reports what was lost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tower_ops_core::panic::catch;
use tracing::Level;

use super::Shared;
use super::losses::LEVELS;
use super::queue::in_order;
use crate::fields::{Fields, Value};
use crate::format::{Line, Memory, Style};
use crate::ids::Ids;
use crate::stamp::Stamp;

/// How long lines are gathered after some were written: until then nobody has to wake the thread.
const GATHER: Duration = Duration::from_millis(2);
/// How often losses are reported at most, unless somebody waits for a flush.
const REPORT: Duration = Duration::from_secs(1);
/// How long to wait for an output that is not ready and does not wait by itself.
const RETRY: Duration = Duration::from_millis(5);
/// The most bytes that a buffer keeps when it is not needed.
const KEPT: usize = 256 * 1024;

pub(super) struct Run {
    shared: Arc<Shared>,
    style: Style,
    output: Box<dyn io::Write + Send>,
    buffers: Vec<Vec<u8>>,
    batch: Batch,
    /// Whether the output ends within a line.
    is_mid_line: bool,
    reported: [u64; 5],
    reported_at: Option<Instant>,
}

/// Lines that are written at once.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each ends, and its level.
    ends: Vec<(usize, Level)>,
}

impl Run {
    pub(super) fn new(
        shared: Arc<Shared>,
        style: Style,
        output: Box<dyn io::Write + Send>,
    ) -> Self {
        Self {
            shared,
            style,
            output,
            buffers: Vec::new(),
            batch: Batch::default(),
            is_mid_line: false,
            reported: [0; 5],
            reported_at: None,
        }
    }

    pub(super) fn until_stopped(mut self) {
        loop {
            // In this order: what was handed over before a flush or the end is taken after it.
            let stops = self.shared.stops.load(Ordering::SeqCst);
            let flush = self.shared.wanted_flush();
            let wrote = self.write_waiting();
            self.report(flush.is_some() || stops);
            if let Some(ticket) = flush {
                let _ = catch(|| self.output.flush());
                self.shared.flush_is_done(ticket);
            }
            if stops {
                return;
            }
            if flush.is_some() {
                continue;
            }
            if wrote {
                thread::park_timeout(GATHER);
            } else {
                self.sleep();
            }
        }
    }

    fn write_waiting(&mut self) -> bool {
        self.shared.queue.take(&mut self.buffers);
        let batch = &mut self.batch;
        batch.clear(self.is_mid_line);
        let ring = self.shared.ring.as_ref();
        in_order(&self.buffers, |waiting| {
            batch.bytes.extend_from_slice(waiting.line);
            batch.ends.push((batch.bytes.len(), waiting.level));
            if let Some(ring) = ring {
                ring.push(waiting.line, waiting.id);
            }
        });
        if batch.ends.is_empty() {
            return false;
        }
        let written = self.write_batch();
        let lines = self.batch.ends.iter();
        for (_, level) in lines.filter(|(end, _)| *end > written) {
            self.shared.losses.add(*level, 1);
        }
        self.shrink();
        true
    }

    /// Writes the batch, and returns how many bytes of it are written.
    fn write_batch(&mut self) -> usize {
        let bytes = &self.batch.bytes;
        let mut written = 0;
        while written < bytes.len() {
            // A panic in a writer of others is an error like any other.
            let result = catch(|| self.output.write(&bytes[written..]));
            match result.unwrap_or_else(|_| Err(io::ErrorKind::Other.into())) {
                Ok(0) => break,
                Ok(more) => written += more.min(bytes.len() - written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(_) => break,
            }
        }
        if let Some(last) = bytes[..written].last() {
            self.is_mid_line = *last != b'\n';
        }
        written
    }

    /// Writes how much was lost since the last time, if anything was.
    fn report(&mut self, at_once: bool) {
        let lost = self.shared.losses.all();
        if lost == self.reported {
            return;
        }
        let now = Instant::now();
        let is_due = self.reported_at.is_none_or(|at| now - at >= REPORT);
        if !is_due && !at_once {
            return;
        }
        self.reported_at = Some(now);
        self.shared.losses.publish();
        self.batch.clear(self.is_mid_line);
        self.loss_line(lost);
        if self.write_batch() == self.batch.bytes.len() {
            self.reported = lost;
        }
    }

    fn loss_line(&mut self, lost: [u64; 5]) {
        let mut fields = Fields::default();
        let news = lost.iter().zip(self.reported).map(|(now, then)| now - then);
        fields.put_named(self.style, "lost", Value::U64(news.clone().sum()));
        for ((level, news), name) in LEVELS.iter().zip(news).zip(NAMES) {
            debug_assert!(name.ends_with(&level.as_str().to_ascii_lowercase()));
            if news > 0 {
                fields.put_named(self.style, name, Value::U64(news));
            }
        }
        let line = Line {
            at: Stamp::now(),
            head: None,
            level: Level::WARN,
            target: "tower_ops::logs",
            message: b"log lines were lost",
            ids: &Ids::default(),
            constants: &Fields::default(),
            fields: &fields,
            access: None,
            project: None,
        };
        line.write(self.style, &mut Memory::default(), &mut self.batch.bytes);
    }

    fn sleep(&self) {
        let shared = &*self.shared;
        shared.sleeps.store(true, Ordering::SeqCst);
        // A caller that came before that woke nobody.
        let may_sleep = shared.queue.is_empty()
            && shared.wanted_flush().is_none()
            && !shared.stops.load(Ordering::SeqCst);
        if may_sleep {
            if shared.losses.all() == self.reported {
                thread::park();
            } else {
                thread::park_timeout(REPORT);
            }
        }
        shared.sleeps.store(false, Ordering::SeqCst);
    }

    /// Gives back what only a burst needed.
    fn shrink(&mut self) {
        let buffers = self.buffers.iter_mut().chain([&mut self.batch.bytes]);
        for buffer in buffers.filter(|buffer| buffer.capacity() > KEPT && buffer.len() < KEPT / 4) {
            *buffer = Vec::new();
        }
    }
}

const NAMES: [&str; 5] = [
    "lost_error",
    "lost_warn",
    "lost_info",
    "lost_debug",
    "lost_trace",
];

impl Batch {
    fn clear(&mut self, is_mid_line: bool) {
        self.bytes.clear();
        self.ends.clear();
        if is_mid_line {
            self.bytes.push(b'\n');
        }
    }
}
