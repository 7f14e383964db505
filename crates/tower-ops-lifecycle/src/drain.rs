use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tower_ops_core::sync::Mutex;

use crate::lifecycle::Lifecycle;
use crate::lifecycle::state::LifecycleState;
use crate::phase::Phase;

mod serve;

pub use self::serve::DeadlineElapsed;

impl Lifecycle {
    /// Registers a participant of the drain. It is called when the drain begins, together with all
    /// others. The drain lasts until all participants are done.
    ///
    /// It has until [`Drain::deadline`] to end its work. Then it has the [abort
    /// timeout](crate::LifecycleBuilder::abort_timeout) to abort the rest and to
    /// [report](Drain::aborted) it. Then it is dropped. A panic in it is reported and stops no
    /// other participant.
    ///
    /// A participant that is registered during the drain begins at once. After the drain it is
    /// dropped, with a warning in the log.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_ops_lifecycle::Lifecycle;
    /// # #[derive(Clone)] struct Connections;
    /// # impl Connections {
    /// #     async fn close(&self) {}
    /// #     fn abort(&self) -> Vec<String> { vec![] }
    /// # }
    /// # fn example(lifecycle: Lifecycle, connections: Connections) {
    /// lifecycle.on_drain("connections", async move |drain| {
    ///     tokio::select! {
    ///         () = connections.close() => {}
    ///         () = drain.expired() => {
    ///             for line in connections.abort() {
    ///                 drain.aborted(line); // GET /reports for 16s from 192.0.2.7
    ///             }
    ///         }
    ///     }
    /// });
    /// # }
    /// ```
    pub fn on_drain<F, Fut>(&self, name: impl Into<Cow<'static, str>>, participant: F)
    where
        F: FnOnce(Drain) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.register_participant(name.into(), participant, true);
    }

    /// Like [`on_drain`](Self::on_drain), but the participant does not count as a server. Use it
    /// for work that ends independently of your listeners: if a server was only given
    /// [`signal_to_stop`](Self::signal_to_stop), the drain still takes its full time.
    pub fn on_drain_independent<F, Fut>(&self, name: impl Into<Cow<'static, str>>, participant: F)
    where
        F: FnOnce(Drain) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.register_participant(name.into(), participant, false);
    }

    /// Declares that an [independent](Self::on_drain_independent) participant tracks what is in
    /// flight on every server. The drain then ends with its participants, even if a server was only
    /// given [`signal_to_stop`](Self::signal_to_stop).
    ///
    /// Such a server may have accepted a request that it has not passed on yet. The participant has
    /// to allow for that if [`Drain::has_untracked_servers`] returns true.
    pub fn track_servers(&self) {
        self.state
            .drain
            .servers_tracked
            .store(true, Ordering::Relaxed);
    }

    fn register_participant<F, Fut>(&self, name: Cow<'static, str>, participant: F, is_server: bool)
    where
        F: FnOnce(Drain) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let begin: Begin = Box::new(move |drain| Box::pin(async move { participant(drain).await }));
        let registered = Registered { name, begin };
        self.state.drain.register(registered, is_server);
    }

    /// Makes a guard. The drain does not end before the guard is dropped, or its deadline has
    /// passed. Hold one for each piece of work that has to end first, such as a WebSocket or a
    /// message.
    ///
    /// Costs a lock and an entry in a table. Guards that are still held at the deadline are
    /// reported by name.
    #[must_use = "dropping the guard lets the drain end"]
    pub fn drain_guard(&self, name: impl Into<Cow<'static, str>>) -> DrainGuard {
        DrainGuard {
            key: self.state.drain.hold(name.into()),
            state: Arc::clone(&self.state),
        }
    }
}

/// A participant's view of the drain: its deadline, and the report of what was aborted.
#[derive(Clone)]
pub struct Drain {
    pub(crate) state: Arc<LifecycleState>,
    pub(crate) deadline: Instant,
    pub(crate) place: Option<usize>,
}

impl Drain {
    /// Returns when to abort what has not ended by itself.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns whether a server was given [`signal_to_stop`](Lifecycle::signal_to_stop), and
    /// nothing reports when it has stopped: no deadline, no guard, and no participant of its own.
    #[must_use]
    pub fn has_untracked_servers(&self) -> bool {
        self.state.drain.has_untracked_servers()
    }

    /// Waits until the deadline.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn expired(&self) {
        sleep_until(self.deadline).await;
    }

    /// Reports that something was aborted, with a line that names it: its route, its age, its peer.
    /// The report keeps it even if the participant is dropped later.
    ///
    /// All are counted. The first 100 lines of a participant are kept, 256 characters of each.
    /// Control characters are replaced.
    pub fn aborted(&self, line: impl AsRef<str>) {
        let mut progress = self.state.progress.lock();
        progress.aborted(self.place, 1, Some(line.as_ref()));
    }

    /// Reports that `count` more were aborted, without naming them.
    pub fn aborted_unnamed(&self, count: u64) {
        self.state.progress.lock().aborted(self.place, count, None);
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Keeps the drain from ending before its deadline. Made by [`Lifecycle::drain_guard`].
pub struct DrainGuard {
    state: Arc<LifecycleState>,
    key: u64,
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.state.drain.release(self.key);
    }
}

impl fmt::Debug for DrainGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainGuard").finish_non_exhaustive()
    }
}

pub(crate) struct Registered {
    pub(crate) name: Cow<'static, str>,
    pub(crate) begin: Begin,
}

pub(crate) type Begin = Box<dyn FnOnce(Drain) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

#[derive(Default)]
pub(crate) struct DrainState {
    inner: Mutex<Inner>,
    /// Whether a server was given the signal to stop, which alone does not show when it has
    /// stopped.
    pub(crate) signal_given: AtomicBool,
    /// Whether a participant tracks what is in flight on such servers.
    servers_tracked: AtomicBool,
    /// Only the driver waits for it.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct Inner {
    registered: Vec<Registered>,
    held: HashMap<u64, Held>,
    next_key: u64,
    /// Whether something shows when a server has stopped: a deadline, a guard or a participant.
    ends_known: bool,
    over: bool,
}

struct Held {
    name: Cow<'static, str>,
    since: Instant,
}

impl DrainState {
    fn register(&self, registered: Registered, is_server: bool) {
        let mut inner = self.inner.lock();
        if inner.over {
            drop(inner); // the participant's drop is code of others
            refuse(&registered);
            return;
        }
        inner.ends_known |= is_server;
        inner.registered.push(registered);
        drop(inner);
        self.changed.notify_one();
    }

    fn hold(&self, name: Cow<'static, str>) -> u64 {
        let since = Instant::now();
        let mut inner = self.inner.lock();
        let key = inner.next_key;
        inner.next_key += 1;
        inner.ends_known = true;
        inner.held.insert(key, Held { name, since });
        key
    }

    fn release(&self, key: u64) {
        let is_empty = {
            let mut inner = self.inner.lock();
            inner.held.remove(&key);
            inner.held.is_empty()
        };
        if is_empty {
            self.changed.notify_one();
        }
    }

    pub(crate) fn take_registered(&self) -> Vec<Registered> {
        std::mem::take(&mut self.inner.lock().registered)
    }

    /// Ends the drain if there is nothing to wait for, and returns whether there is not.
    pub(crate) fn end_if_idle(&self) -> bool {
        let mut inner = self.inner.lock();
        let idle = inner.registered.is_empty() && inner.held.is_empty();
        inner.over |= idle;
        idle
    }

    /// Whether the drain has to take its full time: a server stops, and nothing shows when it has.
    pub(crate) fn takes_full_time(&self) -> bool {
        self.has_untracked_servers() && !self.servers_tracked.load(Ordering::Relaxed)
    }

    fn has_untracked_servers(&self) -> bool {
        self.signal_given.load(Ordering::Relaxed) && !self.inner.lock().ends_known
    }

    /// Ends the drain. Returns the guards that are still held: how many of each name, and since
    /// when the oldest, sorted by that.
    pub(crate) fn end(&self) -> Vec<(Cow<'static, str>, u64, Instant)> {
        let mut inner = self.inner.lock();
        inner.over = true;
        let unstarted = std::mem::take(&mut inner.registered);
        let mut names: HashMap<Cow<'static, str>, (u64, Instant)> = HashMap::new();
        for held in inner.held.values() {
            let name = names.entry(held.name.clone()).or_insert((0, held.since));
            name.0 += 1;
            name.1 = name.1.min(held.since);
        }
        drop(inner);
        unstarted.iter().for_each(refuse);
        let mut names: Vec<_> = names
            .into_iter()
            .map(|(name, (count, since))| (name, count, since))
            .collect();
        names.sort_by(|one, other| (one.2, &one.0).cmp(&(other.2, &other.0)));
        names
    }
}

fn refuse(registered: &Registered) {
    let name = &*registered.name;
    tracing::warn!(
        participant = name,
        "the participant was registered after the drain and is dropped"
    );
}

/// Signals work that has no end of its own to end. Cheap to clone. Made by
/// [`Lifecycle::drain_token`] and [`Lifecycle::pre_drain_token`].
///
/// The drain does not wait for holders of a token. For that, hold a
/// [guard](Lifecycle::drain_guard).
///
/// # Examples
///
/// ```
/// # use tower_ops_lifecycle::Lifecycle;
/// # async fn receive() -> Option<u8> { None }
/// # async fn example(lifecycle: Lifecycle) {
/// let token = lifecycle.pre_drain_token();
/// while let Some(Some(message)) = token.run_until_cancelled(receive()).await {
///     // work on it
/// #   drop(message);
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct DrainToken {
    state: Arc<LifecycleState>,
    at: Phase,
}

impl DrainToken {
    pub(crate) const fn new(state: Arc<LifecycleState>, at: Phase) -> Self {
        Self { state, at }
    }

    /// Returns whether it is time to end. One atomic load.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state.phase() >= self.at
    }

    /// Waits until it is time to end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn cancelled(&self) {
        self.state.reached(self.at).await;
    }

    /// Waits as [`cancelled`](Self::cancelled) does, and owns the token.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn cancelled_owned(self) {
        self.cancelled().await;
    }

    /// Runs a future until it ends. When it is time to end, drops it and returns `None`.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `work`, which is dropped with it.
    pub async fn run_until_cancelled<F: IntoFuture>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.cancelled() => None,
            output = work.into_future() => Some(output),
        }
    }
}

impl fmt::Debug for DrainToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainToken")
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}
