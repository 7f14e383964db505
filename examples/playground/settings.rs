//! What the environment sets.

use std::{env, time::Duration};

use tower_ops::lifecycle::{DEFAULT_DRAIN_TIMEOUT, DEFAULT_PRE_DRAIN};

/// How long a client may neither read nor send what the playground waits for.
const STALL: Duration = Duration::from_secs(10);

/// The settings of one playground.
pub(crate) struct Settings {
    pub(crate) app_addr: String,
    pub(crate) ops_addr: String,
    pub(crate) unix_path: Option<String>,
    pub(crate) ops_on_app: Option<String>,
    pub(crate) pre_drain: Duration,
    pub(crate) drain: Duration,
    pub(crate) idle: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) stall: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) catches_panics: bool,
    pub(crate) is_public: bool,
    pub(crate) state_file: Option<String>,
    pub(crate) awaits_state: bool,
    pub(crate) operations_token: Option<String>,
    /// The certificate and its key.
    pub(crate) tls: Option<(String, String)>,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self, String> {
        Ok(Self {
            app_addr: text("APP_ADDR").unwrap_or_else(|| "127.0.0.1:3000".to_owned()),
            ops_addr: text("OPS_ADDR").unwrap_or_else(|| "127.0.0.1:8080".to_owned()),
            unix_path: text("UNIX_PATH"),
            ops_on_app: text("OPS_ON_APP"),
            pre_drain: millis("PRE_DRAIN_MS")?.unwrap_or(DEFAULT_PRE_DRAIN),
            drain: millis("DRAIN_MS")?.unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            idle: millis("IDLE_MS")?,
            max_age: millis("MAX_AGE_MS")?,
            stall: millis("STALL_MS")?.unwrap_or(STALL),
            timeout: millis("TIMEOUT_MS")?,
            catches_panics: is_on("CATCH_PANIC"),
            is_public: is_on("PUBLIC"),
            state_file: text("STATE_FILE"),
            awaits_state: text("AWAIT_STATE").is_some(),
            operations_token: text("OPERATIONS_TOKEN"),
            tls: text("TLS_CERT").zip(text("TLS_KEY")),
        })
    }
}

fn text(variable: &str) -> Option<String> {
    env::var(variable).ok()
}

fn is_on(variable: &str) -> bool {
    text(variable).is_some_and(|it| it != "0")
}

/// The milliseconds in an environment variable, if it is set.
fn millis(variable: &str) -> Result<Option<Duration>, String> {
    let Some(text) = text(variable) else {
        return Ok(None);
    };
    let millis = text
        .parse()
        .map_err(|_| format!("{variable}: {text:?} is not a number of milliseconds"))?;
    Ok(Some(Duration::from_millis(millis)))
}
