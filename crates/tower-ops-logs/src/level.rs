//! Changing the filter at run time, for a while or for good.

use std::sync::{Arc, Condvar, PoisonError};
use std::time::{Duration, SystemTime};
use std::{io, thread};

use tokio::time::Instant;
use tower_ops_core::sync::Mutex;

use crate::filter::reload::LogsFilter;
use crate::filter::{BareTargets, Directives, FilterError};
use crate::stamp::Stamp;

pub(crate) mod service;

/// The longest time after which a filter goes back by itself.
pub(crate) const MAX_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The filter in use, and the one that it returns to.
pub(crate) struct Level {
    filter: LogsFilter,
    state: Mutex<State>,
    /// The time has come, or another one was set.
    changed: Condvar,
}

struct State {
    /// The filter that stays.
    lasting: Directives,
    temporary: Option<Temporary>,
    /// Whether there is a thread that waits for the end of what is temporary.
    is_timed: bool,
    /// How far a test has moved the clock.
    skew: Duration,
}

#[derive(Clone, Copy)]
struct Temporary {
    until: Instant,
    until_date: Stamp,
}

/// What the filter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) filter: String,
    pub(crate) returns: Option<Returns>,
}

/// What the filter will be, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returns {
    pub(crate) to: String,
    pub(crate) at: Stamp,
    pub(crate) after: Duration,
}

/// Why the filter was not changed.
#[derive(Debug)]
pub(crate) enum SetError {
    Filter(FilterError),
    Thread(io::Error),
}

impl State {
    fn now(&self) -> Instant {
        Instant::now() + self.skew
    }
}

impl Level {
    pub(crate) fn new(filter: LogsFilter) -> Arc<Self> {
        let lasting = Directives::clone(&filter.directives());
        Arc::new(Self {
            filter,
            state: Mutex::new(State {
                lasting,
                temporary: None,
                is_timed: false,
                skew: Duration::ZERO,
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn filter(&self) -> &LogsFilter {
        &self.filter
    }

    pub(crate) fn current(&self) -> Current {
        let state = self.state.lock();
        let returns = state.temporary.map(|temporary| Returns {
            to: state.lasting.to_string(),
            at: temporary.until_date,
            after: temporary.until.saturating_duration_since(state.now()),
        });
        Current {
            filter: self.filter.directives().to_string(),
            returns,
        }
    }

    /// Changes the filter, until that time has passed or for good. Directives without a level of
    /// their own change the lasting filter.
    pub(crate) fn set(
        self: &Arc<Self>,
        directives: &str,
        time: Option<Duration>,
    ) -> Result<Current, SetError> {
        let mut state = self.state.lock();
        let directives = state.lasting.with(directives, BareTargets::Refuse);
        let directives = directives.map_err(SetError::Filter)?;
        if let Some(time) = time {
            if !state.is_timed {
                let level = Arc::clone(self);
                let timer = thread::Builder::new().name("log-level".to_owned());
                let timer = timer.spawn(move || level.wait_and_return());
                timer.map_err(SetError::Thread)?;
                state.is_timed = true;
            }
            state.temporary = Some(Temporary {
                until: state.now() + time,
                until_date: Stamp::of(SystemTime::now() + time),
            });
        } else {
            state.temporary = None;
            state.lasting = directives.clone();
        }
        self.filter.replace(directives);
        self.changed.notify_all();
        drop(state);
        let current = self.current();
        let (filter, returns) = (&*current.filter, current.returns.as_ref());
        tracing::info!(
            target: "tower_ops::logs",
            filter,
            returns_to = returns.map(|returns| &*returns.to),
            returns_at = returns.map(|returns| returns.at.text()),
            "the log filter was changed"
        );
        Ok(current)
    }

    /// Waits until nothing is temporary any more.
    fn wait_and_return(&self) {
        let mut state = self.state.lock();
        while let Some(temporary) = state.temporary {
            let left = temporary.until.saturating_duration_since(state.now());
            if left.is_zero() {
                state.temporary = None;
                let lasting = state.lasting.clone();
                let filter = lasting.to_string();
                self.filter.replace(lasting);
                drop(state);
                tracing::info!(target: "tower_ops::logs", filter, "the log filter has returned");
                state = self.state.lock();
            } else {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        state.is_timed = false;
    }

    #[cfg(test)]
    fn advance(&self, time: Duration) {
        self.state.lock().skew += time;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
