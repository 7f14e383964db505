use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics::Recorder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tower_ops_core::config::ConfigError;
use tower_ops_core::secret::{Secret, WatchedSecret};

use crate::fence::Fence;
use crate::hex;
use crate::member::Member;
use crate::metrics::StateMetrics;
use crate::participant::{Participant, Refusal};
use crate::problems;
use crate::seal::SigningKey;
use crate::shared::{Callback, Condition, Limits, Shared};
use crate::single::Single;
use crate::state::State;
use crate::token::Tokens;

/// How large an envelope may be, unless told otherwise: 64 MiB.
pub const DEFAULT_MAX_SIZE: usize = 64 * 1024 * 1024;
/// How long a capture may take, unless told otherwise.
pub const DEFAULT_CAPTURE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a restore may take, unless told otherwise.
pub const DEFAULT_RESTORE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may make a body wait, unless told otherwise.
pub const DEFAULT_IDLE_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Where the token is looked for, unless told otherwise.
pub const TOKEN_VARIABLE: &str = "TOWER_OPS_STATE_TOKEN";

/// Configures a [`State`]. Made by [`State::builder`].
///
/// | setting | default |
/// |---|---|
/// | [`token`](Self::token) | from `TOWER_OPS_STATE_TOKEN`; without one the service is closed |
/// | [`restore_when`](Self::restore_when) | unset: over HTTP only with `?force=1` |
/// | [`max_size`](Self::max_size) | 64 MiB, decompressed |
/// | [`capture_timeout`](Self::capture_timeout) | 30 s |
/// | [`restore_timeout`](Self::restore_timeout) | 60 s |
/// | [`idle_body_timeout`](Self::idle_body_timeout) | 10 s |
pub struct StateBuilder {
    application: String,
    version: String,
    instance: Option<String>,
    members: Vec<Box<dyn Member>>,
    token: Option<Secret>,
    next_token: Option<Secret>,
    token_variable: String,
    key: Option<Vec<u8>>,
    restore_when: Option<Condition>,
    on_restored: Vec<Callback>,
    on_inconsistent: Vec<Callback>,
    allow_missing: bool,
    allow_unknown: bool,
    limits: Limits,
    file: Option<PathBuf>,
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
}

impl StateBuilder {
    pub(crate) fn new(application: String, version: String) -> Self {
        Self {
            application,
            version,
            instance: None,
            members: Vec::new(),
            token: None,
            next_token: None,
            token_variable: TOKEN_VARIABLE.to_owned(),
            key: None,
            restore_when: None,
            on_restored: Vec::new(),
            on_inconsistent: Vec::new(),
            allow_missing: false,
            allow_unknown: false,
            limits: Limits {
                max_size: DEFAULT_MAX_SIZE,
                capture_timeout: DEFAULT_CAPTURE_TIMEOUT,
                restore_timeout: DEFAULT_RESTORE_TIMEOUT,
                idle_body_timeout: DEFAULT_IDLE_BODY_TIMEOUT,
            },
            file: None,
            recorder: None,
        }
    }

    /// Adds a part of the state. They are captured and committed in the order in which
    /// they were added, and rolled back in the reverse one. At most 256.
    #[must_use]
    pub fn participant(mut self, participant: impl Participant) -> Self {
        self.members.push(Box::new(participant));
        self
    }

    /// For a state that is one value: how to get it and how to set it. A participant by
    /// the name of `state`, version 1. Both may block.
    #[must_use]
    pub fn single<T>(
        self,
        getter: impl Fn() -> T + Send + Sync + 'static,
        restorer: impl Fn(T) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        self.participant(Single::new(getter, restorer))
    }

    /// What the instance is called in its envelopes. A random name by default.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// The bearer token that clients of the service need: a string, or a [`Secret`] from wherever it
    /// comes, such as a file that may change while the process runs. By default that of the
    /// environment variable.
    ///
    /// ```
    /// use tower_ops_state::{Secret, State};
    ///
    /// let builder = State::builder("shop", "1").token(Secret::from_file("/etc/shop/state-token"));
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A second token, as good as the first: to change tokens without a gap, let this
    /// be the new one until all clients have it, and then [`token`](Self::token). By
    /// default that of the environment variable with `_NEXT` behind its name.
    #[must_use]
    pub fn next_token(mut self, token: impl Into<Secret>) -> Self {
        self.next_token = Some(token.into());
        self
    }

    /// The environment variable with the token, where none is given.
    /// `TOWER_OPS_STATE_TOKEN` by default.
    #[must_use]
    pub fn token_env(mut self, name: impl Into<String>) -> Self {
        self.token_variable = name.into();
        self
    }

    /// Signs envelopes with HMAC-SHA256, and takes only those that are signed with the
    /// same key: 16 bytes at least.
    #[must_use]
    pub fn hmac_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// When it may be restored: before the instance is ready, and while it is drained.
    /// Unless set, a client has to insist with `?force=1`, and a restore by a call is
    /// always allowed.
    #[must_use]
    pub fn restore_when(mut self, condition: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.restore_when = Some(Arc::new(condition));
        self
    }

    /// What to do once all participants are restored, and only then: such as to say
    /// that the instance is ready. Called again, it is one thing more.
    #[must_use]
    pub fn on_restored(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_restored.push(Arc::new(callback));
        self
    }

    /// What to do if a rollback fails as well, and participants may have parts of two states: such
    /// as to say that the instance is not ready. Called again, it is one thing more.
    #[must_use]
    pub fn on_inconsistent(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_inconsistent.push(Arc::new(callback));
        self
    }

    /// Whether envelopes may lack participants, without anybody saying so each time.
    /// Off by default.
    #[must_use]
    pub const fn allow_missing(mut self, allow: bool) -> Self {
        self.allow_missing = allow;
        self
    }

    /// Whether envelopes may have unknown participants, without anybody saying so each
    /// time. Off by default.
    #[must_use]
    pub const fn allow_unknown(mut self, allow: bool) -> Self {
        self.allow_unknown = allow;
        self
    }

    /// How many bytes an envelope may have, both ways; a compressed one when it is
    /// decompressed. 64 MiB by default.
    #[must_use]
    pub const fn max_size(mut self, bytes: usize) -> Self {
        self.limits.max_size = bytes;
        self
    }

    /// How long it may take to capture, before the first byte is sent. 30 s by default.
    #[must_use]
    pub const fn capture_timeout(mut self, time: Duration) -> Self {
        self.limits.capture_timeout = time;
        self
    }

    /// How long it may take to restore, the request's body included; and again that
    /// long for a rollback. 60 s by default.
    #[must_use]
    pub const fn restore_timeout(mut self, time: Duration) -> Self {
        self.limits.restore_timeout = time;
        self
    }

    /// How long to wait for a client to send or to take the next part of a body. 10 s
    /// by default.
    #[must_use]
    pub const fn idle_body_timeout(mut self, time: Duration) -> Self {
        self.limits.idle_body_timeout = time;
        self
    }

    /// The file for [`State::save_file`] and [`State::restore_file`]. Its directory
    /// must exist, and no other application may use the same name.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Where the metrics go. Into the process's recorder by default.
    #[must_use]
    pub fn recorder(mut self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Whether this can be built.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error lists every problem.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.examine(&mut problems);
        ConfigError::check("the state", problems)
    }

    /// The tokens and the key, as far as they are in order.
    fn examine(
        &self,
        problems: &mut Vec<String>,
    ) -> ([Option<WatchedSecret>; 2], Option<SigningKey>) {
        // A token that is given is all there is: none comes in through the back door.
        let tokens = if self.token.is_none() && self.next_token.is_none() {
            let next = format!("{}_NEXT", self.token_variable);
            [&self.token_variable, &next].map(|name| {
                let token = problems::variable(problems, name).map(Secret::new);
                problems::token(problems, name, token)
            })
        } else {
            let given = [("token", &self.token), ("next_token", &self.next_token)];
            given.map(|(name, token)| problems::token(problems, name, token.clone()))
        };
        problems::text(problems, "application", &self.application);
        problems::text(problems, "version", &self.version);
        if let Some(instance) = &self.instance {
            problems::text(problems, "instance", instance);
        }
        problems::members(problems, &self.members);
        problems::limits(problems, &self.limits);
        problems::file(problems, self.file.as_deref());
        let signing_key = problems::key(problems, self.key.as_deref());
        (tokens, signing_key)
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error lists every problem.
    pub fn build(self) -> Result<State, ConfigError> {
        let mut problems = Vec::new();
        let (tokens, signing_key) = self.examine(&mut problems);
        let instance = self.instance.map_or_else(random_name, Ok);
        let instance = instance.unwrap_or_else(|error| {
            problems.push(format!("instance: no random name: {error}"));
            String::new()
        });
        ConfigError::check("the state", problems)?;

        let [current, next] = tokens;
        Ok(State {
            shared: Arc::new(Shared {
                application: self.application,
                application_version: self.version,
                instance,
                members: self.members,
                tokens: Tokens::new(current, next),
                token_variable: self.token_variable,
                signing_key,
                restore_when: self.restore_when,
                on_restored: self.on_restored,
                on_inconsistent: self.on_inconsistent,
                allow_missing: self.allow_missing,
                allow_unknown: self.allow_unknown,
                limits: self.limits,
                file: self.file,
                fence: Fence::new(),
                flight: Arc::new(Semaphore::new(1)),
                metrics: Arc::new(StateMetrics::register(self.recorder.as_ref())),
            }),
        })
    }
}

fn random_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(&bytes))
}

impl fmt::Debug for StateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.members.iter().map(|member| member.name());
        // Neither tokens nor the key.
        f.debug_struct("StateBuilder")
            .field("application", &self.application)
            .field("participants", &names.collect::<Vec<_>>())
            .field("limits", &self.limits)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
