//! A filter that can be replaced while events are filtered by it.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tower_ops_core::sync::Mutex;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, callsite};
use tracing_subscriber::layer::{Context, Filter};

use super::Directives;

/// The filter of a [`LogsLayer`](crate::LogsLayer), whose directives can be replaced.
///
/// Each call site asks it once, and again after a change. Where another layer wants a call site that
/// this one does not, each event asks: a look into a copy that the thread keeps.
#[derive(Clone)]
pub struct LogsFilter {
    shared: Arc<Reloadable>,
}

pub(crate) struct Reloadable {
    /// Changes with the directives, and is another one for each filter.
    version: AtomicU64,
    directives: Mutex<Arc<Directives>>,
}

/// Gives each version of each filter a number of its own.
static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static COPY: RefCell<Option<(u64, Arc<Directives>)>> = const { RefCell::new(None) };
}

impl LogsFilter {
    pub(crate) fn new(directives: Directives) -> Self {
        Self {
            shared: Arc::new(Reloadable {
                version: AtomicU64::new(NEXT.fetch_add(1, Ordering::Relaxed)),
                directives: Mutex::new(Arc::new(directives)),
            }),
        }
    }

    pub(crate) fn directives(&self) -> Arc<Directives> {
        Arc::clone(&self.shared.directives.lock())
    }

    /// Replaces the directives, and has every call site ask again.
    pub(crate) fn replace(&self, directives: Directives) {
        let mut current = self.shared.directives.lock();
        *current = Arc::new(directives);
        let version = NEXT.fetch_add(1, Ordering::Relaxed);
        self.shared.version.store(version, Ordering::Release);
        drop(current);
        callsite::rebuild_interest_cache();
    }

    fn is_enabled(&self, metadata: &Metadata<'_>) -> bool {
        let version = self.shared.version.load(Ordering::Acquire);
        COPY.try_with(|copy| {
            let mut copy = copy.try_borrow_mut().ok()?;
            match &*copy {
                Some((known, directives)) if *known == version => {
                    Some(allows(directives, metadata))
                }
                _ => {
                    let directives = self.directives();
                    let allows = allows(&directives, metadata);
                    *copy = Some((version, directives));
                    Some(allows)
                }
            }
        })
        .ok()
        .flatten()
        .unwrap_or_else(|| allows(&self.directives(), metadata))
    }
}

fn allows(directives: &Directives, metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= directives.level(metadata.target())
}

impl<S> Filter<S> for LogsFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.is_enabled(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if allows(&self.directives(), metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.directives().max_level())
    }
}

impl fmt::Debug for LogsFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directives = self.directives().to_string();
        f.debug_tuple("LogsFilter").field(&directives).finish()
    }
}
