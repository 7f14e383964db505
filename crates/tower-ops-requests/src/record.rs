use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{MutexGuard, OnceLock};
use std::time::Duration;

use tower_ops_core::sync::Mutex;
use tower_ops_observe::{Class, KnownMethod, Route, TraceIds};

use self::inline_text::InlineText;
use self::kind::Kind;
use self::metadata::Metadata;
use self::progress::{End, Progress};

mod id;
pub(crate) mod inline_text;
pub(crate) mod kind;
pub(crate) mod metadata;
pub(crate) mod progress;
pub(crate) mod snapshot;

/// All that is known about one piece of work, in one allocation.
///
/// The registry, the history and the handles share it. Only the task that drives the work writes
/// its progress and its byte count, so plain stores are enough.
pub(crate) struct Record {
    pub(crate) id: u64,
    /// Nanoseconds since the registry was made, as all times here.
    pub(crate) started: u64,
    /// `None` for a task.
    pub(crate) method: Option<KnownMethod>,
    /// The id of the record in which this one began.
    pub(crate) parent: Option<NonZeroU64>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) connection: Option<u64>,
    pub(crate) trace_ids: Option<TraceIds>,
    /// From a client: never a label, and escaped in log lines.
    pub(crate) text: InlineText,
    /// The route as it was known at the beginning; a task's name.
    pub(crate) early_route: Option<Route>,
    /// The route as the response's head had it.
    late_route: OnceLock<Route>,
    progress: AtomicU32,
    bytes_sent: AtomicU64,
    /// Nanoseconds from the start to the head, and to the end; 0 for not yet.
    head_after: AtomicU64,
    end_after: AtomicU64,
    reported_slow: AtomicBool,
    /// What most requests do not have.
    extra: OnceLock<Box<Mutex<Extra>>>,
}

#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) metadata: Metadata,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) error: Option<Box<str>>,
}

/// What the handler set as the result of its work.
pub(crate) struct Verdict {
    pub(crate) class: Class,
    pub(crate) reason: Box<str>,
}

impl Record {
    /// The bytes of one on the heap: the record, its two counts, and what an allocator may add.
    pub(crate) const BYTES: usize = size_of::<Self>() + 48;

    pub(crate) const fn empty() -> Self {
        Self {
            id: 0,
            started: 0,
            method: None,
            parent: None,
            peer: None,
            connection: None,
            trace_ids: None,
            text: InlineText::EMPTY,
            early_route: None,
            late_route: OnceLock::new(),
            progress: AtomicU32::new(0),
            bytes_sent: AtomicU64::new(0),
            head_after: AtomicU64::new(0),
            end_after: AtomicU64::new(0),
            reported_slow: AtomicBool::new(false),
            extra: OnceLock::new(),
        }
    }

    /// Resets a new or used record for another piece of work. The caller sets the other fields.
    #[inline]
    pub(crate) fn begin(&mut self, kind: Kind, started: u64) {
        self.id = id::next_id();
        self.started = started;
        self.late_route.take();
        self.extra.take();
        *self.progress.get_mut() = Progress::new(kind).pack();
        *self.bytes_sent.get_mut() = 0;
        *self.head_after.get_mut() = 0;
        *self.end_after.get_mut() = 0;
        *self.reported_slow.get_mut() = false;
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress::unpack(self.progress.load(Ordering::Acquire))
    }

    /// Publishes the stores before it as well: readers load the progress first.
    pub(crate) fn set_progress(&self, progress: Progress) {
        self.progress.store(progress.pack(), Ordering::Release);
    }

    pub(crate) fn route(&self) -> Option<&Route> {
        self.late_route.get().or(self.early_route.as_ref())
    }

    /// Stores the route that is known by now, if it differs.
    pub(crate) fn learn_route(&self, route: Option<&Route>) {
        let Some(route) = route else { return };
        // Nearly always it is a clone of the early one: the addresses are equal.
        let known = self.early_route.as_ref().map(Route::as_str);
        if known.is_some_and(|known| std::ptr::eq(known, route.as_str()) || known == route.as_str())
        {
            return;
        }
        if self.late_route.get().is_none() {
            let _ = self.late_route.set(route.clone());
        }
    }

    pub(crate) fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes_sent(&self, bytes: u64) {
        // Only one task adds, so no locked instruction is needed.
        self.bytes_sent
            .store(self.bytes_sent().wrapping_add(bytes), Ordering::Relaxed);
    }

    /// Ends the work `after` its start, in nanoseconds.
    pub(crate) fn end(&self, after: u64, progress: Progress, end: End) {
        self.end_after.store(after.max(1), Ordering::Relaxed);
        self.set_progress(Progress {
            end: Some(end),
            ..progress
        });
    }

    pub(crate) fn set_time_to_head(&self, after: u64) {
        self.head_after.store(after.max(1), Ordering::Relaxed);
    }

    pub(crate) fn time_to_head(&self) -> Option<Duration> {
        duration(self.head_after.load(Ordering::Relaxed))
    }

    /// From the start to the end.
    pub(crate) fn duration(&self) -> Option<Duration> {
        duration(self.end_after.load(Ordering::Relaxed))
    }

    /// When it ended. Before the end, its start, which sorts it first.
    pub(crate) fn ended(&self) -> u64 {
        self.started + self.end_after.load(Ordering::Relaxed)
    }

    /// Marks it as reported. Returns whether it was not before.
    pub(crate) fn mark_reported(&self) -> bool {
        !self.reported_slow.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn was_reported_slow(&self) -> bool {
        self.reported_slow.load(Ordering::Relaxed)
    }

    /// `None` for most.
    pub(crate) fn extra(&self) -> Option<MutexGuard<'_, Extra>> {
        self.extra.get().map(|extra| extra.lock())
    }

    pub(crate) fn extra_or_new(&self) -> MutexGuard<'_, Extra> {
        self.extra.get_or_init(Default::default).lock()
    }
}

pub(crate) const SECOND: u64 = 1_000_000_000;

/// Converts to nanoseconds, 584 years at most.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(SECOND)
        .saturating_add(duration.subsec_nanos() as u64)
}

/// Converts what is stored: 0 is unknown, and so 1 stands for an empty duration.
const fn duration(nanos: u64) -> Option<Duration> {
    match nanos {
        0 => None,
        1 => Some(Duration::ZERO),
        nanos => Some(Duration::from_nanos(nanos)),
    }
}
