//! What all clones of a handle share: the process's own word, the checks, and their changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use http::StatusCode;
use tokio::sync::{Semaphore, watch};
use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::RecorderHandle;
use tower_ops_core::sync::Mutex;

use super::HealthBuilder;
use crate::changes::{Change, Listeners};
use crate::check::{Check, CheckEntries, CheckEntry, LIVENESS, READINESS, STARTUP};
use crate::details::Details;
use crate::group::Group;
use crate::heartbeat::Heart;
use crate::meters::Meters;
use crate::shed::ShedRoutes;
use crate::status::Status;

/// A bound for code that adds checks in a loop.
pub(super) const MOST_CHECKS: usize = 1_000;

/// What the process has declared about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessFlags {
    pub(crate) started: bool,
    pub(crate) ready: bool,
    /// Never taken back.
    pub(crate) draining: bool,
    /// The server accepts nothing any more: streams that would stay open have to end. Never taken
    /// back.
    pub(crate) closed: bool,
    /// How often ready was taken back, for readers that must not miss one.
    pub(crate) withdrawals: u64,
}

pub(crate) struct HealthInner {
    /// All flags in one channel, so that no reader finds ready without started. Its lock is held to
    /// copy or to set them only.
    flags: watch::Sender<ProcessFlags>,
    /// Readers take a snapshot: no lock is held while they work.
    entries: Mutex<Arc<CheckEntries>>,
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    pub(crate) heart: Arc<Heart>,
    pub(crate) details: Details,
    pub(crate) degraded: StatusCode,
    pub(crate) jitter: f64,
    pub(crate) meters: Meters,
    pub(crate) listeners: Listeners,
    /// Bounds how many checks run at once.
    pub(crate) slots: Arc<Semaphore>,
    /// Held by the task that runs the checks.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    pub(crate) running: AtomicBool,
    /// Changes when checks are added or removed.
    pub(crate) set: watch::Sender<u64>,
    /// Changes when any answer may have.
    pub(crate) changed: watch::Sender<u64>,
    /// Held while changes are published, which keeps their order. Probes never wait for it.
    publishing: Mutex<()>,
    pub(crate) shed_routes: ShedRoutes,
    /// Start-up is over for good, whatever checks are added later.
    start_over: AtomicBool,
    /// A thread publishes changes that were detected while nobody ran checks.
    has_publisher: AtomicBool,
}

impl HealthInner {
    /// The builder must be valid.
    pub(super) fn new(builder: HealthBuilder) -> Self {
        let groups = builder.all_groups();
        let entries = builder.checks.into_iter().map(|check| {
            let name = Arc::clone(&check.name);
            (name, Arc::new(CheckEntry::new(check)))
        });
        Self {
            flags: watch::Sender::new(ProcessFlags::default()),
            entries: Mutex::new(Arc::new(entries.collect())),
            groups,
            heart: Arc::new(Heart::new(builder.stalled_after, builder.blocked_after)),
            details: builder.details.unwrap_or_default(),
            degraded: StatusCode::from_u16(builder.degraded).unwrap_or(StatusCode::OK),
            jitter: builder.jitter,
            meters: Meters::new(RecorderHandle::new(builder.recorder)),
            listeners: Listeners::new(builder.callbacks),
            slots: Arc::new(Semaphore::new(builder.concurrency)),
            turn: Arc::default(),
            running: AtomicBool::new(false),
            set: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            publishing: Mutex::new(()),
            shed_routes: ShedRoutes::default(),
            start_over: AtomicBool::new(false),
            has_publisher: AtomicBool::new(false),
        }
    }

    pub(crate) fn flags(&self) -> ProcessFlags {
        *self.flags.borrow()
    }

    pub(super) fn subscribe_flags(&self) -> watch::Receiver<ProcessFlags> {
        self.flags.subscribe()
    }

    /// Changes the flags; wakes waiters only if they did change.
    pub(super) fn update_flags(&self, change: impl FnOnce(&mut ProcessFlags)) {
        let changed = self.flags.send_if_modified(|flags| {
            let before = *flags;
            change(flags);
            flags.ready &= !flags.draining;
            if before.ready && !flags.ready {
                flags.withdrawals += 1;
            }
            *flags != before
        });
        if changed {
            self.touch();
        }
    }

    /// Wakes everybody whose answer may have changed.
    pub(crate) fn touch(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Returns a snapshot of the checks.
    pub(crate) fn entries(&self) -> Arc<CheckEntries> {
        Arc::clone(&self.entries.lock())
    }

    pub(crate) fn entry(&self, name: &str) -> Option<Arc<CheckEntry>> {
        self.entries.lock().get(name).cloned()
    }

    pub(super) fn add(&self, check: Check) -> Result<(), ConfigError> {
        let mut problems = check.all_problems(&self.groups);
        let mut entries = self.entries.lock();
        if entries.contains_key(&check.name) {
            problems.push(format!("check {:?}: there is one of that name", check.name));
        }
        if entries.len() >= MOST_CHECKS {
            problems.push(format!("there are {MOST_CHECKS} checks already"));
        }
        ConfigError::from_problems("the health checks", problems)?;
        let name = Arc::clone(&check.name);
        Arc::make_mut(&mut entries).insert(name, Arc::new(CheckEntry::new(check)));
        drop(entries);
        self.set.send_modify(|version| *version += 1);
        self.touch();
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        let Some(entry) = Arc::make_mut(&mut self.entries.lock()).remove(name) else {
            return false;
        };
        self.meters.dependency(&entry.check.name, None);
        self.set.send_modify(|version| *version += 1);
        self.update_shed_routes();
        self.touch();
        true
    }

    /// Returns whether this very check is still registered.
    pub(crate) fn has(&self, entry: &CheckEntry) -> bool {
        let entries = self.entries.lock();
        let known = entries.get(&entry.check.name);
        known.is_some_and(|known| known.id == entry.id)
    }

    /// Notifies listeners of a change of the check, if there is one.
    pub(crate) fn publish(&self, entry: &Arc<CheckEntry>) {
        let publishing = self.publishing.lock();
        if !self.has(entry) {
            return;
        }
        self.record(entry);
        if let Some((from, to)) = entry.take_change() {
            self.update_shed_routes();
            let report = entry.report();
            self.listeners.notify(&Change { from, to, report });
            drop(publishing);
            self.touch();
        }
    }

    /// Records the status of a check in the metrics.
    fn record(&self, entry: &CheckEntry) {
        let name = &entry.check.name;
        self.meters.dependency(name, Some(entry.status()));
        // It may have been removed, and its metric taken back, just before that.
        if !self.has(entry) {
            self.meters.dependency(name, None);
        }
    }

    /// Detects results that have become too old, publishes that, and records all statuses.
    pub(crate) fn sweep(&self) {
        for entry in self.entries().values() {
            self.publish(entry);
        }
        self.record_groups();
    }

    /// The same for the thread of the probes. Listeners and writers of logs are the user's and may
    /// block: a thread of its own notifies them, one at a time.
    pub(crate) fn sweep_without_blocking(self: &Arc<Self>) {
        let mut has_changed = false;
        for entry in self.entries().values() {
            self.record(entry);
            has_changed |= entry.has_unpublished_change();
        }
        self.record_groups();
        if has_changed && !self.has_publisher.swap(true, Ordering::AcqRel) {
            self.update_shed_routes();
            self.touch();
            let publisher = Publisher(Arc::clone(self));
            // If there is no thread for it, the changes are published when checks run again.
            let _ = thread::Builder::new()
                .name("health-changes".into())
                .spawn(move || publisher.0.sweep());
        }
    }

    fn record_groups(&self) {
        for (name, group) in &self.groups {
            self.meters.group(name, self.group_status(group));
        }
        self.meters
            .runtime(self.heart.stalled(), self.heart.blocked());
    }

    /// Returns the status of a group, as its path answers.
    pub(crate) fn group_status(&self, group: &Group) -> Status {
        self.group_status_of(group, |_| true)
    }

    /// The same of the selected checks of the group.
    pub(crate) fn group_status_of(
        &self,
        group: &Group,
        select: impl Fn(&CheckEntry) -> bool,
    ) -> Status {
        let entries = self.entries();
        let members = || {
            let entries = entries.values();
            entries.filter(|entry| entry.check.groups.contains(&group.name))
        };
        let selected = members().filter(|entry| select(entry));
        match &*group.name {
            LIVENESS => group
                .status(selected.map(|entry| entry.standing()))
                .max(self.heart.status()),
            STARTUP => {
                let standings = selected.map(|entry| entry.startup_standing());
                // By all members: a request that leaves one out must not end start-up for all.
                if self.is_start_over(group, members().map(|entry| entry.startup_standing())) {
                    Status::Ok
                } else if self.flags().started {
                    group.status(standings)
                } else {
                    Status::Down
                }
            }
            READINESS if !self.flags().ready => Status::Down,
            _ => group.status(selected.map(|entry| entry.standing())),
        }
    }

    fn is_start_over<'a>(
        &self,
        startup: &Group,
        standings: impl Iterator<Item = crate::Standing<'a>>,
    ) -> bool {
        if self.start_over.load(Ordering::Acquire) {
            return true;
        }
        let is_over = self.flags().started && startup.status(standings) != Status::Down;
        if is_over {
            self.start_over.store(true, Ordering::Release);
        }
        is_over
    }

    pub(crate) fn built_in(&self, name: &str) -> &Group {
        // The builder has added all three, and nothing removes them.
        &self.groups[name]
    }

    fn update_shed_routes(&self) {
        self.shed_routes.update(|| self.entries());
    }
}

/// A thread that publishes changes.
struct Publisher(Arc<HealthInner>);

impl Drop for Publisher {
    fn drop(&mut self) {
        self.0.has_publisher.store(false, Ordering::Release);
    }
}
