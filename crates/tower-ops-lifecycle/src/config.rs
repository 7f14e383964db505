use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::report::ShutdownReport;
use crate::timeline::Timeline;

/// What a builder was told, once it is known to be valid.
pub(crate) struct Config {
    pub(crate) timeline: Timeline,
    pub(crate) quiet: Option<Duration>,
    pub(crate) last_connection: Option<LastConnection>,
    pub(crate) steps: Vec<Cow<'static, str>>,
    pub(crate) signals: bool,
    pub(crate) exit: ExitAction,
    pub(crate) exit_when_overdue: bool,
    pub(crate) workers: Option<usize>,
    #[cfg_attr(not(all(unix, feature = "systemd")), expect(dead_code))]
    pub(crate) systemd: bool,
}

pub(crate) type LastConnection = Arc<dyn Fn() -> Option<Instant> + Send + Sync>;
pub(crate) type ExitAction = Arc<dyn Fn(&ShutdownReport, i32) + Send + Sync>;
