use std::collections::{HashSet, hash_map::RandomState};
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::hash::BuildHasher as _;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::{RecorderHandle, SharedRecorder};
use tower_ops_core::secret::{Secret, WatchedSecret};

use crate::audit;
use crate::envelope::SigningKey;
use crate::fence::Fence;
use crate::participant::{ErasedParticipant, Participant, Refusal, Single};
use crate::state::{Settings, State, StateInner, Tokens};

const MOST_PARTICIPANTS: usize = 256;
const LONGEST_NAME: usize = 64;
const LONGEST_TEXT: usize = 128;
/// An empty envelope with a head of the usual length has to fit.
const SMALLEST_LIMIT: usize = 4 * 1024;
/// Far more than is of use, and little enough for a clock to add.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Configures a [`State`]. Made by [`State::builder`].
pub struct StateBuilder {
    settings: Settings,
    instance: Option<String>,
    token: Option<Secret>,
    next_token: Option<Secret>,
    key: Option<Vec<u8>>,
}

impl StateBuilder {
    pub(crate) fn new(application: String, version: String) -> Self {
        let settings = Settings {
            application,
            version,
            participants: Vec::new(),
            token_variable: "TOWER_OPS_STATE_TOKEN".to_owned(),
            restore_when: None,
            on_restored: Vec::new(),
            on_inconsistent: Vec::new(),
            allow_missing: false,
            allow_unknown: false,
            max_size: 64 * 1024 * 1024,
            capture_timeout: Duration::from_secs(30),
            restore_timeout: Duration::from_secs(60),
            idle_body_timeout: Duration::from_secs(10),
            file: None,
            recorder: RecorderHandle::default(),
        };
        Self {
            settings,
            instance: None,
            token: None,
            next_token: None,
            key: None,
        }
    }

    /// Sets the version of the application, in place of the one that
    /// [`State::builder`] was given.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.settings.version = version.into();
        self
    }

    /// Adds a part of the state. Participants are captured and committed in the order in which they
    /// were added, and rolled back in the reverse order. At most 256.
    #[must_use]
    pub fn participant(mut self, participant: impl Participant) -> Self {
        self.settings.participants.push(Box::new(participant));
        self
    }

    /// Adds a state that is one value, with a getter and a setter: a participant named `state`,
    /// version 1. Both may block.
    #[must_use]
    pub fn single<T>(
        self,
        getter: impl Fn() -> T + Send + Sync + 'static,
        setter: impl Fn(T) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        self.participant(Single {
            getter,
            setter,
            data: PhantomData,
        })
    }

    /// Sets the name of this instance in its envelopes. A random name by default.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Sets the bearer token that clients of the service need: a string, or a [`Secret`] from
    /// elsewhere, such as a file that may change while the process runs. By default the token in
    /// the [environment variable](Self::token_from_env).
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets a second token, which is accepted like the first. To change tokens without a gap, set
    /// the new token here until all clients have it, and then as [`token`](Self::token). By default
    /// the token in the environment variable with `_NEXT` appended to its name.
    #[must_use]
    pub fn next_token(mut self, token: impl Into<Secret>) -> Self {
        self.next_token = Some(token.into());
        self
    }

    /// Sets the environment variable with the token, which is read if neither
    /// [`token`](Self::token) nor [`next_token`](Self::next_token) is set. `TOWER_OPS_STATE_TOKEN`
    /// by default.
    #[must_use]
    pub fn token_from_env(mut self, name: impl Into<String>) -> Self {
        self.settings.token_variable = name.into();
        self
    }

    /// Signs envelopes with HMAC-SHA256, and accepts only envelopes that are signed with the same
    /// key, of at least 16 bytes. Not signed by default.
    #[must_use]
    pub fn hmac_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets when a restore is allowed: before the instance is ready, and while it is drained. If it
    /// is not set, a client needs `?force=1`, and a call of [`State::restore`] is always allowed.
    #[must_use]
    pub fn restore_when(mut self, condition: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.settings.restore_when = Some(Box::new(condition));
        self
    }

    /// Adds a callback that runs when all participants were restored, such as to mark the instance
    /// ready. It does not run after a dry run or a failure. Can be called more than once.
    #[must_use]
    pub fn on_restored(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.on_restored.push(Box::new(callback));
        self
    }

    /// Adds a callback that runs when a rollback failed and participants may have parts of two
    /// states, such as to mark the instance not ready. Can be called more than once.
    #[must_use]
    pub fn on_inconsistent(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.settings.on_inconsistent.push(Box::new(callback));
        self
    }

    /// Sets whether every envelope may lack participants, as if each restore
    /// [allowed it](crate::Restore::allow_missing). Off by default.
    #[must_use]
    pub const fn allow_missing(mut self, allow: bool) -> Self {
        self.settings.allow_missing = allow;
        self
    }

    /// Sets whether every envelope may have unknown participants, as if each restore
    /// [allowed it](crate::Restore::allow_unknown). Off by default.
    #[must_use]
    pub const fn allow_unknown(mut self, allow: bool) -> Self {
        self.settings.allow_unknown = allow;
        self
    }

    /// Sets the largest size of an envelope in bytes, in both directions and decompressed. 64 MiB
    /// by default, at least 4 KiB.
    #[must_use]
    pub const fn max_size(mut self, bytes: usize) -> Self {
        self.settings.max_size = bytes;
        self
    }

    /// Limits how long a capture takes until its first byte. 30 s by default, at most a day.
    #[must_use]
    pub const fn capture_timeout(mut self, time: Duration) -> Self {
        self.settings.capture_timeout = time;
        self
    }

    /// Limits how long a restore takes, with the body of the request; a rollback has the same time
    /// again. 60 s by default, at most a day.
    #[must_use]
    pub const fn restore_timeout(mut self, time: Duration) -> Self {
        self.settings.restore_timeout = time;
        self
    }

    /// Limits how long a client may take to send or to read the next part of a body. 10 s by
    /// default, at most a day.
    #[must_use]
    pub const fn idle_body_timeout(mut self, time: Duration) -> Self {
        self.settings.idle_body_timeout = time;
        self
    }

    /// Sets the file for [`State::save_file`] and [`State::restore_file`]. Its directory must
    /// exist, and no other application may use the same name. No file by default.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.file = Some(path.into());
        self
    }

    /// Sets the recorder of the metrics. The recorder of the process by default.
    #[must_use]
    pub fn recorder(mut self, recorder: SharedRecorder) -> Self {
        self.settings.recorder = RecorderHandle::new(Some(recorder));
        self
    }

    /// Checks whether this can be built. Reads the tokens, from wherever they come.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid. The error lists every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.parse().map(drop)
    }

    /// Builds the state.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid. The error lists every problem.
    pub fn build(self) -> Result<State, ConfigError> {
        let (tokens, signing_key) = self.parse()?;
        // Random: enough to distinguish instances.
        let random = || format!("{:016x}", RandomState::new().hash_one(()));
        audit::register(&self.settings.recorder);
        Ok(State {
            inner: Arc::new(StateInner {
                instance: self.instance.unwrap_or_else(random),
                settings: self.settings,
                tokens,
                signing_key,
                fence: Fence::new(),
                permits: Arc::new(Semaphore::new(1)),
            }),
        })
    }

    /// Finds all problems, for both [`validate`](Self::validate) and [`build`](Self::build).
    fn parse(&self) -> Result<(Tokens, Option<SigningKey>), ConfigError> {
        let settings = &self.settings;
        let mut problems = Problems::default();
        let tokens = self.tokens(&mut problems);
        problems.text("application", &settings.application);
        problems.text("version", &settings.version);
        if let Some(instance) = &self.instance {
            problems.text("instance", instance);
        }
        problems.participants(&settings.participants);
        problems.limits(settings);
        let name = settings.file.as_ref().map(|path| path.file_name());
        if name.is_some_and(|name| name.and_then(OsStr::to_str).is_none()) {
            problems.add("file", "has no name at its end that is valid Unicode");
        }
        let key = self.key.as_deref();
        if key.is_some_and(|key| key.len() < SigningKey::SHORTEST) {
            let text = format!("is shorter than {} bytes", SigningKey::SHORTEST);
            problems.add("hmac_key", text);
        }
        ConfigError::from_problems("the state", problems.0)?;
        Ok((tokens, key.and_then(SigningKey::new)))
    }

    fn tokens(&self, problems: &mut Problems) -> Tokens {
        let mut given = [self.token.clone(), self.next_token.clone()];
        // A token in the environment is not added to one that is set.
        if given.iter().all(Option::is_none) {
            let variable = &self.settings.token_variable;
            given = [variable, &format!("{variable}_NEXT")].map(|name| {
                // An empty variable is a usual way not to set it.
                let is_set = env::var_os(name).is_some_and(|value| !value.is_empty());
                is_set.then(|| Secret::from_env(name))
            });
        }
        let mut tokens = Tokens::new();
        let names = [("token", "current"), ("next_token", "next")];
        for ((setting, name), token) in names.into_iter().zip(given) {
            match token.map(WatchedSecret::new).transpose() {
                Ok(token) => tokens.extend(token.map(|token| (name, token))),
                Err(problem) => problems.add(setting, problem),
            }
        }
        tokens
    }
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, setting: &str, problem: impl fmt::Display) {
        self.0.push(format!("{setting}: {problem}"));
    }

    fn text(&mut self, setting: &str, text: &str) {
        if text.is_empty() || text.len() > LONGEST_TEXT {
            self.add(setting, format!("is not 1 to {LONGEST_TEXT} bytes long"));
        }
    }

    fn participants(&mut self, participants: &[Box<dyn ErasedParticipant>]) {
        if participants.len() > MOST_PARTICIPANTS {
            let text = format!("there are more than {MOST_PARTICIPANTS}");
            self.add("participant", text);
        }
        let mut names = HashSet::new();
        for participant in participants {
            let name = participant.name();
            let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_valid) {
                let text = format!("{name:?} is not 1 to {LONGEST_NAME} of a-z A-Z 0-9 _ - .");
                self.add("participant", text);
            }
            if !names.insert(name) {
                self.add("participant", format!("there are two named {name:?}"));
            }
        }
    }

    fn limits(&mut self, settings: &Settings) {
        if settings.max_size < SMALLEST_LIMIT {
            self.add("max_size", format!("is less than {SMALLEST_LIMIT} bytes"));
        }
        for (setting, time) in [
            ("capture_timeout", settings.capture_timeout),
            ("restore_timeout", settings.restore_timeout),
            ("idle_body_timeout", settings.idle_body_timeout),
        ] {
            if time.is_zero() {
                self.add(setting, "is zero");
            }
            if time > LONGEST_TIMEOUT {
                self.add(setting, "is more than a day");
            }
        }
    }
}

/// Without the tokens and the key.
impl fmt::Debug for StateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateBuilder")
            .field("application", &self.settings.application)
            .field("file", &self.settings.file)
            .finish_non_exhaustive()
    }
}
