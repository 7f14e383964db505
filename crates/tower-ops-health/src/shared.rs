//! What all handles share: the flags, the checks, and who is told of changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use http::StatusCode;
use tokio::sync::{Semaphore, watch};
use tower_ops_core::config::ConfigError;

use crate::check::{Check, LIVENESS, READINESS, STARTUP};
use crate::details::Details;
use crate::entry::Entry;
use crate::events::{Change, Listeners};
use crate::group::Group;
use crate::heartbeat::Heart;
use crate::meters::Meters;
use crate::route::Route;
use crate::status::Status;

pub(crate) type Entries = BTreeMap<Arc<str>, Arc<Entry>>;

/// More checks than any service has; they come from code, and code can loop.
pub(crate) const MOST_CHECKS: usize = 1_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) started: bool,
    pub(crate) ready: bool,
    pub(crate) draining: bool,
    /// How often ready was taken back, for who must not miss one.
    pub(crate) withdrawals: u64,
    /// The server accepts nothing any more: what is open for as long as it runs has to end.
    pub(crate) closed: bool,
}

pub(crate) struct Shared {
    /// All flags in one channel, so that nobody sees "ready" without "started". No
    /// reference into it leaves these methods: its lock is held to copy or set them.
    flags: watch::Sender<Flags>,
    entries: RwLock<Entries>,
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    pub(crate) heart: Arc<Heart>,
    pub(crate) details: Details,
    pub(crate) degraded: StatusCode,
    pub(crate) jitter: f64,
    pub(crate) meters: Meters,
    pub(crate) listeners: Listeners,
    /// Bounds how many checks run at once.
    pub(crate) slots: Arc<Semaphore>,
    /// Held by who runs the checks.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    pub(crate) running: AtomicBool,
    /// Changes when checks are added or removed.
    pub(crate) set: watch::Sender<u64>,
    /// Changes when any answer may have.
    pub(crate) changed: watch::Sender<u64>,
    /// Held while changes are told, so that they are told in order. Readers never take it.
    telling: Mutex<()>,
    pub(crate) shed: Shed,
    /// Start-up is over once, whatever checks are added later.
    start_over: AtomicBool,
    /// A thread tells what changed while nobody ran checks.
    late: AtomicBool,
}

/// The routes to shed now.
#[derive(Default)]
pub(crate) struct Shed {
    /// So that a request pays one load while nothing is shed.
    any: AtomicBool,
    routes: RwLock<Vec<(Arc<str>, Arc<Entry>)>>,
}

/// What a builder has put together.
pub(crate) struct Settings {
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    pub(crate) heart: Heart,
    pub(crate) details: Details,
    pub(crate) degraded: StatusCode,
    pub(crate) jitter: f64,
    pub(crate) meters: Meters,
    pub(crate) listeners: Listeners,
    pub(crate) slots: usize,
}

impl Shared {
    /// The checks must be valid.
    pub(crate) fn new(settings: Settings, checks: Vec<Check>) -> Self {
        let entries = checks.into_iter().map(|check| {
            let name = Arc::clone(&check.name);
            (name, Arc::new(Entry::new(check)))
        });
        Self {
            flags: watch::Sender::new(Flags::default()),
            entries: RwLock::new(entries.collect()),
            groups: settings.groups,
            heart: Arc::new(settings.heart),
            details: settings.details,
            degraded: settings.degraded,
            jitter: settings.jitter,
            meters: settings.meters,
            listeners: settings.listeners,
            slots: Arc::new(Semaphore::new(settings.slots)),
            turn: Arc::default(),
            running: AtomicBool::new(false),
            set: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            telling: Mutex::new(()),
            shed: Shed::default(),
            start_over: AtomicBool::new(false),
            late: AtomicBool::new(false),
        }
    }

    pub(crate) fn flags(&self) -> Flags {
        *self.flags.borrow()
    }

    pub(crate) fn subscribe_flags(&self) -> watch::Receiver<Flags> {
        self.flags.subscribe()
    }

    /// Changes the flags; wakes waiters only if they did change.
    pub(crate) fn update_flags(&self, change: impl FnOnce(Flags) -> Flags) {
        let changed = self.flags.send_if_modified(|flags| {
            let before = *flags;
            let mut after = change(before);
            after.draining |= before.draining;
            after.closed |= before.closed;
            after.ready &= !after.draining;
            if before.ready && !after.ready {
                after.withdrawals += 1;
            }
            *flags = after;
            before != after
        });
        if changed {
            self.touch();
        }
    }

    /// Says that answers may have changed.
    pub(crate) fn touch(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn entries(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries_mut(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<Arc<Entry>> {
        self.entries().get(name).cloned()
    }

    pub(crate) fn add(&self, mut check: Check) -> Result<(), ConfigError> {
        let mut problems = check_problems(&check, &self.groups);
        settle_groups(&mut check);
        let mut entries = self.entries_mut();
        if entries.contains_key(&check.name) {
            problems.push(format!("check {:?}: there is one of that name", check.name));
        }
        if entries.len() >= MOST_CHECKS {
            problems.push(format!("there are {MOST_CHECKS} checks already"));
        }
        ConfigError::check("the health checks", problems)?;
        entries.insert(Arc::clone(&check.name), Arc::new(Entry::new(check)));
        drop(entries);
        self.set.send_modify(|version| *version += 1);
        self.touch();
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> bool {
        let Some(entry) = self.entries_mut().remove(name) else {
            return false;
        };
        self.meters.dependency(&entry.check.name, None);
        self.set.send_modify(|version| *version += 1);
        self.update_shed();
        self.touch();
        true
    }

    /// Whether this very check is still registered.
    pub(crate) fn has(&self, entry: &Arc<Entry>) -> bool {
        let entries = self.entries();
        let known = entries.get(&entry.check.name);
        known.is_some_and(|known| known.id == entry.id)
    }

    /// Tells of a check's change, if there is one.
    pub(crate) fn publish(&self, entry: &Arc<Entry>) {
        let told = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has(entry) {
            return;
        }
        self.show(entry);
        if let Some((from, to)) = entry.take_change() {
            self.update_shed();
            let report = entry.report();
            self.listeners.tell(&Change { from, to, report });
            drop(told);
            self.touch();
        }
    }

    /// Shows how a check stands in the metrics.
    fn show(&self, entry: &Arc<Entry>) {
        let name = &entry.check.name;
        self.meters.dependency(name, Some(entry.status()));
        // Removed in between, and taken back before it was shown.
        if !self.has(entry) {
            self.meters.dependency(name, None);
        }
    }

    /// Notices what changed because time went by, and shows how all stands.
    pub(crate) fn sweep(&self) {
        let entries: Vec<_> = self.entries().values().cloned().collect();
        for entry in &entries {
            self.publish(entry);
        }
        self.show_groups();
    }

    /// The same, for the thread of the probes, which must not wait: whoever listens is the user's,
    /// as is whoever writes logs, and may block. Another thread tells them, one at a time.
    pub(crate) fn look_over(self: &Arc<Self>) {
        let entries: Vec<_> = self.entries().values().cloned().collect();
        let mut untold = false;
        for entry in &entries {
            self.show(entry);
            untold |= entry.is_untold();
        }
        self.show_groups();
        if untold && !self.late.swap(true, Ordering::AcqRel) {
            self.update_shed();
            self.touch();
            let late = Late(Arc::clone(self));
            // Without a thread for it, it is told when the checks run again.
            let _ = thread::Builder::new()
                .name("health-changes".into())
                .spawn(move || late.0.sweep());
        }
    }

    fn show_groups(&self) {
        for (name, group) in &self.groups {
            self.meters.group(name, self.group_status(group));
        }
        self.meters
            .runtime(self.heart.stalled(), self.heart.blocked());
    }

    /// How a group stands, as its path answers.
    pub(crate) fn group_status(&self, group: &Group) -> Status {
        self.group_status_of(group, |_| true)
    }

    /// The same, of some of its checks.
    pub(crate) fn group_status_of(&self, group: &Group, select: impl Fn(&Entry) -> bool) -> Status {
        // Looked at unfiltered: leaving a check out must not end start-up for all who ask.
        let start_over = &*group.name == STARTUP && self.is_start_over(group);
        // Off the lock: an aggregator is not ours.
        let members: Vec<_> = self
            .entries()
            .values()
            .filter(|entry| entry.check.groups.contains(&group.name) && select(entry))
            .cloned()
            .collect();
        let members = members.iter();
        match &*group.name {
            LIVENESS => group
                .status(members.map(|entry| entry.standing()))
                .max(self.heart.status()),
            STARTUP if start_over => Status::Ok,
            STARTUP if !self.flags().started => Status::Down,
            STARTUP => group.status(members.map(|entry| entry.startup_standing())),
            READINESS if !self.flags().ready => Status::Down,
            _ => group.status(members.map(|entry| entry.standing())),
        }
    }

    fn is_start_over(&self, startup: &Group) -> bool {
        if self.start_over.load(Ordering::Acquire) {
            return true;
        }
        if !self.flags().started {
            return false;
        }
        let members: Vec<_> = self
            .entries()
            .values()
            .filter(|entry| entry.check.groups.contains(STARTUP))
            .cloned()
            .collect();
        let standings = members.iter().map(|entry| entry.startup_standing());
        let is_over = startup.status(standings) != Status::Down;
        if is_over {
            self.start_over.store(true, Ordering::Release);
        }
        is_over
    }

    pub(crate) fn built_in(&self, name: &str) -> &Group {
        // The builder has put all three there, and nothing takes them out.
        &self.groups[name]
    }

    fn update_shed(&self) {
        // Under the write lock, so that the last one to write has seen the newest.
        let mut routes = self
            .shed
            .routes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        routes.clear();
        for entry in self.entries().values() {
            if !entry.check.routes.is_empty() && entry.status() == Status::Down {
                let named = entry.check.routes.iter();
                routes.extend(named.map(|route| (Arc::clone(route), Arc::clone(entry))));
            }
        }
        self.shed.any.store(!routes.is_empty(), Ordering::Release);
    }
}

/// A thread tells what changed while nobody ran checks.
struct Late(Arc<Shared>);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.late.store(false, Ordering::Release);
    }
}

impl Shed {
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The check because of which `route` is shed now.
    pub(crate) fn because_of(&self, route: Route<'_>) -> Option<Arc<Entry>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        // Not one that nobody looks after any more.
        let is_down = |entry: &Entry| entry.status() == Status::Down;
        let shed = routes
            .iter()
            .find(|(named, entry)| route.is_meant_by(named) && is_down(entry))?;
        Some(Arc::clone(&shed.1))
    }
}

/// Puts a check that names no group where such checks belong.
pub(crate) fn settle_groups(check: &mut Check) {
    if check.groups.is_empty() {
        check.groups.insert(READINESS.into());
    }
}

pub(crate) fn check_problems(check: &Check, groups: &BTreeMap<Arc<str>, Group>) -> Vec<String> {
    let mut problems = check.settings_problems();
    for group in &check.groups {
        if !groups.contains_key(group) {
            let known: Vec<_> = groups.keys().map(|name| &**name).collect();
            problems.push(format!(
                "check {:?}: group: there is no group {group:?}, but {}",
                check.name,
                known.join(", ")
            ));
        }
    }
    if groups.contains_key(&check.name) {
        problems.push(format!(
            "check {:?}: name: there is a group of that name, with the same path",
            check.name
        ));
    }
    problems
}
