//! Who takes part in the drain, and what it waits for.

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
    /// Registers something that takes part in the drain: it is called when the drain
    /// begins, together with all others, and the drain lasts until all are done.
    ///
    /// It has until [`Drain::deadline`] to end what it has, and
    /// [some time more](crate::LifecycleBuilder::abort) to abort the rest and to
    /// [say](Drain::aborted) what that was. Then it is dropped. A panic in it is
    /// reported, and stops nobody else.
    ///
    /// Called during the drain it begins at once; after it, it is logged and dropped.
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
        self.take_part(name.into(), participant, true);
    }

    /// As [`on_drain`](Self::on_drain), for what takes part without knowing of every server: where
    /// a server was given [`signal_to_stop`](Self::signal_to_stop) and nothing else tells when it
    /// has stopped, the drain takes its full time all the same.
    pub fn on_drain_independent<F, Fut>(&self, name: impl Into<Cow<'static, str>>, participant: F)
    where
        F: FnOnce(Drain) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.take_part(name.into(), participant, false);
    }

    /// Declares that a participant registered by [`on_drain_independent`](Self::on_drain_independent) knows
    /// what is in flight on every server, those among them that were only given
    /// [`signal_to_stop`](Self::signal_to_stop): the drain ends when all participants have, and
    /// does not take its full time for the sake of such a server.
    ///
    /// The participant has to allow for what the server has accepted and not passed on:
    /// [`Drain::has_untracked_servers`] tells when that is.
    pub fn track_servers(&self) {
        self.state.drain.observed.store(true, Ordering::Relaxed);
    }

    fn take_part<F, Fut>(&self, name: Cow<'static, str>, participant: F, sees: bool)
    where
        F: FnOnce(Drain) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let begin: Begin = Box::new(move |drain| Box::pin(async move { participant(drain).await }));
        self.state.drain.register(Registered { name, begin }, sees);
    }

    /// Keeps the drain from ending before it is dropped: hold one for each piece of
    /// work that has to end first, such as a WebSocket or a message.
    ///
    /// Costs a lock and an entry in a table. What is still held at the deadline is
    /// reported by its name.
    #[must_use = "dropping the guard lets the drain end"]
    pub fn drain_guard(&self, name: impl Into<Cow<'static, str>>) -> DrainGuard {
        DrainGuard {
            key: self.state.drain.hold(name.into()),
            state: Arc::clone(&self.state),
        }
    }
}

/// The drain, as one of its participants has it: the deadline, and where to say what
/// was aborted.
#[derive(Clone)]
pub struct Drain {
    pub(crate) state: Arc<LifecycleState>,
    pub(crate) deadline: Instant,
    pub(crate) place: Option<usize>,
}

impl Drain {
    /// When to abort what has not ended by itself.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns whether a server was given [`signal_to_stop`](Lifecycle::signal_to_stop), and
    /// neither a deadline, nor a guard, nor a participant of its own shows when it has stopped.
    #[must_use]
    pub fn has_untracked_servers(&self) -> bool {
        self.state.drain.has_untracked_servers()
    }

    /// Waits until the deadline.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn expired(&self) {
        sleep_until(self.deadline).await;
    }

    /// Says that something was aborted, in a line that names it: its route, its age,
    /// its peer. Reported even if the participant is dropped later.
    ///
    /// All are counted. The first 100 lines of a participant are kept, 256 characters
    /// of each; control characters are replaced.
    pub fn aborted(&self, line: impl AsRef<str>) {
        let mut progress = self.state.progress.lock();
        progress.aborted(self.place, 1, Some(line.as_ref()));
    }

    /// Says that so many more were aborted, without naming them.
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

/// The drain does not end while this is held, but at its deadline. Made by
/// [`Lifecycle::drain_guard`].
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
    /// Whether somebody was given the moment to stop, who need not tell when it has.
    pub(crate) stops_unseen: AtomicBool,
    /// Whether a participant knows all the same what is in flight there.
    observed: AtomicBool,
    /// For the driver, which alone waits for it.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct Inner {
    registered: Vec<Registered>,
    held: HashMap<u64, Held>,
    next_key: u64,
    /// Whether anything ever told when it is done.
    seen: bool,
    over: bool,
}

struct Held {
    name: Cow<'static, str>,
    since: Instant,
}

impl DrainState {
    fn register(&self, registered: Registered, sees: bool) {
        let mut inner = self.inner.lock();
        if inner.over {
            drop(inner); // its drop may run anything
            refuse(&registered);
            return;
        }
        inner.seen |= sees;
        inner.registered.push(registered);
        drop(inner);
        self.changed.notify_one();
    }

    fn hold(&self, name: Cow<'static, str>) -> u64 {
        let since = Instant::now();
        let mut inner = self.inner.lock();
        let key = inner.next_key;
        inner.next_key += 1;
        inner.seen = true;
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

    /// Whether there is nothing more to wait for: then the drain is over.
    pub(crate) fn end_if_idle(&self) -> bool {
        let mut inner = self.inner.lock();
        let idle = inner.registered.is_empty() && inner.held.is_empty();
        inner.over |= idle;
        idle
    }

    /// Whether servers stop, and nothing tells when they have.
    pub(crate) fn is_blind(&self) -> bool {
        self.has_untracked_servers() && !self.observed.load(Ordering::Relaxed)
    }

    fn has_untracked_servers(&self) -> bool {
        self.stops_unseen.load(Ordering::Relaxed) && !self.inner.lock().seen
    }

    /// Ends the drain, and tells what is held still: how many of each name, and since
    /// when the oldest; the oldest name first.
    pub(crate) fn end(&self) -> Vec<(Cow<'static, str>, u64, Instant)> {
        let mut inner = self.inner.lock();
        inner.over = true;
        let unheard = std::mem::take(&mut inner.registered);
        let mut names: HashMap<Cow<'static, str>, (u64, Instant)> = HashMap::new();
        for held in inner.held.values() {
            let name = names.entry(held.name.clone()).or_insert((0, held.since));
            name.0 += 1;
            name.1 = name.1.min(held.since);
        }
        drop(inner);
        unheard.iter().for_each(refuse);
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
    tracing::warn!(participant = name, "registered after the drain: not run");
}

/// Tells work without an end of its own that it has to end. Cheap to clone. Made by
/// [`Lifecycle::drain_token`](crate::Lifecycle::drain_token) and
/// [`Lifecycle::pre_drain_token`](crate::Lifecycle::pre_drain_token).
///
/// A token only tells; the drain does not wait for whoever has one. For that, hold a
/// [guard](crate::Lifecycle::drain_guard).
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

    /// Whether it is time to end. One atomic load.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state.phase() >= self.at
    }

    /// Waits until it is time to end.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn cancelled(&self) {
        self.state.reached(self.at).await;
    }

    /// As [`cancelled`](Self::cancelled), for a future that may outlive this token.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn cancelled_owned(self) {
        self.cancelled().await;
    }

    /// Runs a future until it ends, or drops it when it is time to end: `None`.
    ///
    /// # Cancel safety
    ///
    /// As the future's.
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
