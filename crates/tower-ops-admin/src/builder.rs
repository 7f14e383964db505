use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderName};
use tokio::time::Instant;
use tower_ops_core::config::ConfigError;
use tower_ops_core::http::Host;
#[cfg(feature = "server")]
use tower_ops_core::recorder::{RecorderHandle, SharedRecorder};

use crate::admin::Admin;
use crate::index::INFO;
use crate::mount::Mount;
use crate::tokens::Tokens;

/// What the clones of an [`Admin`] share.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) info: Vec<(String, String)>,
    phase: Option<Phase>,
    /// The header with our version.
    pub(crate) header: Option<HeaderName>,
    pub(crate) base: String,
    pub(crate) tokens: Tokens,
    mounts: Vec<Mount>,
    pub(crate) started_at: Instant,
    /// Host names that are trusted beside those that nobody else can have.
    pub(crate) hosts: Vec<String>,
    pub(crate) peer: Option<PeerOf>,
    #[cfg(feature = "server")]
    pub(crate) ephemeral_port: bool,
    #[cfg(feature = "server")]
    pub(crate) recorder: RecorderHandle,
}

/// Returns who sent a request, by its extensions.
type PeerOf = Arc<dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync>;

type Phase = Arc<dyn Fn() -> Cow<'static, str> + Send + Sync>;

impl Config {
    pub(crate) fn phase(&self) -> Option<Cow<'static, str>> {
        self.phase.as_ref().map(|phase| phase())
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.serves(path))
    }

    /// Returns every path, with the text beside it.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        self.mounts.iter().flat_map(|mount| {
            let more = mount.links.iter().map(|(path, about)| (&**path, &**about));
            std::iter::once((&*mount.path, &*mount.about)).chain(more)
        })
    }
}

/// Configures an [`Admin`]. Made by [`Admin::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct AdminBuilder {
    config: Config,
    header: Option<String>,
}

impl AdminBuilder {
    pub(crate) fn new(name: String) -> Self {
        let config = Config {
            name,
            version: None,
            info: Vec::new(),
            phase: None,
            header: None,
            base: String::new(),
            tokens: Tokens::none(),
            mounts: Vec::new(),
            started_at: Instant::now(),
            hosts: Vec::new(),
            peer: None,
            #[cfg(feature = "server")]
            ephemeral_port: false,
            #[cfg(feature = "server")]
            recorder: RecorderHandle::default(),
        };
        Self {
            config,
            header: Some("x-tower-ops-version".into()),
        }
    }

    /// Sets the application's version, such as `env!("CARGO_PKG_VERSION")`. None by default.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.config.version = Some(version.into());
        self
    }

    /// Adds a fact about the build or the place, such as a commit, a date or a region. Everybody
    /// who may read sees it.
    pub fn info(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.info.push((name.into(), value.into()));
        self
    }

    /// Sets the function that returns the phase of the process. It is called for each index, and
    /// must not block. None by default.
    pub fn phase(mut self, phase: impl Fn() -> Cow<'static, str> + Send + Sync + 'static) -> Self {
        self.config.phase = Some(Arc::new(phase));
        self
    }

    /// Sets the header with the version of this library, which every answer carries.
    /// `x-tower-ops-version` by default; `None` leaves it out.
    pub fn version_header(mut self, name: impl Into<Option<&'static str>>) -> Self {
        self.header = name.into().map(str::to_owned);
        self
    }

    /// Sets the prefix under which it is nested in a router, for the links of the index. A
    /// [layer](Admin::layer) sets its own. None by default.
    pub fn base(mut self, prefix: impl Into<String>) -> Self {
        self.config.base = prefix.into();
        self
    }

    /// Sets the tokens. By default everybody may read and nobody may change anything.
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.config.tokens = tokens;
        self
    }

    /// Mounts a service.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.config.mounts.push(mount);
        self
    }

    /// Returns the path of a mount that overlaps with `path`, or with a path below it. Use it to
    /// check what an application has mounted before you mount a service of your own, with its
    /// subpaths.
    #[must_use]
    pub fn overlap(&self, path: &str) -> Option<&str> {
        let mut mounts = self.config.mounts.iter();
        let mount = mounts.find(|mount| mount.serves(path) || is_at_or_below(path, &mount.path))?;
        Some(&mount.path)
    }

    /// Adds a host name, without a port, under which requests are accepted, such as
    /// `ops.orders.example.com`. IP addresses, `localhost`, single labels and names that end in
    /// `.localhost`, `.local`, `.internal` or `.svc` always are.
    ///
    /// Another name is answered 421 in two cases: to clients on this machine, whose browser a page
    /// of another site can send here under a name of its own (DNS rebinding), and to everybody for
    /// what changes something.
    pub fn trusted_host(mut self, name: impl Into<String>) -> Self {
        self.config.hosts.push(name.into());
        self
    }

    /// Sets the function that finds who sent a request on the application's port, in the request's
    /// extensions or in a task-local. On the endpoint's own port the peer is known.
    pub fn peer(
        mut self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.config.peer = Some(Arc::new(peer));
        self
    }

    /// Has port 0 be any free port that the system gives, instead of the first one from 8080 to
    /// 9000: for tests. Off by default.
    #[cfg(feature = "server")]
    #[cfg_attr(docsrs, doc(cfg(feature = "server")))]
    pub const fn ephemeral_port(mut self) -> Self {
        self.config.ephemeral_port = true;
        self
    }

    /// Sets the recorder of the metrics about connections. The process's by default.
    #[cfg(feature = "server")]
    #[cfg_attr(docsrs, doc(cfg(feature = "server")))]
    pub fn recorder(mut self, recorder: SharedRecorder) -> Self {
        self.config.recorder = RecorderHandle::new(Some(recorder));
        self
    }

    /// Checks the configuration without building anything.
    ///
    /// # Errors
    ///
    /// If anything in it is invalid. The error lists every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems("the operations endpoint", self.problems())
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    pub fn build(self) -> Result<Admin, ConfigError> {
        self.validate()?;
        let header = self.header.and_then(|name| HeaderName::try_from(name).ok());
        Ok(Admin::new(Config {
            header,
            started_at: Instant::now(),
            ..self.config
        }))
    }

    fn problems(&self) -> Vec<String> {
        let config = &self.config;
        let mut problems = Vec::new();
        if config.name.trim().is_empty() {
            problems.push("name: is empty; give the service's name, such as \"orders\"".into());
        }
        if let Some(header) = &self.header
            && HeaderName::try_from(header).is_err()
        {
            problems.push(format!(
                "version_header: {header:?} is not a valid header name, such as \
                 \"x-tower-ops-version\""
            ));
        }
        if !config.base.is_empty() {
            problems.extend(path_problem(&config.base).map(|it| format!("base: {it}")));
        }
        for host in &config.hosts {
            let parsed = Host::parse(host).map(|parsed| parsed.name());
            if host.is_empty() || parsed != Ok(host.as_str()) {
                problems.push(format!(
                    "trusted_host: {host:?} is not a host name without a port, such as \
                     \"ops.example.com\""
                ));
            }
        }
        for (place, (name, _)) in config.info.iter().enumerate() {
            if name.trim().is_empty() {
                problems.push("info: a name is empty".into());
            } else if config.info[..place].iter().any(|(other, _)| other == name) {
                problems.push(format!("info: {name:?} is given twice"));
            }
        }
        for (place, mount) in config.mounts.iter().enumerate() {
            problems.extend(mount_problems(mount));
            for other in &config.mounts[..place] {
                if other.serves(&mount.path) || mount.serves(&other.path) {
                    problems.push(format!(
                        "mount {:?}: overlaps with {:?}",
                        mount.path, other.path
                    ));
                }
            }
        }
        problems
    }
}

fn mount_problems(mount: &Mount) -> Vec<String> {
    let path = &*mount.path;
    let mut problems = Vec::new();
    if let Some(problem) = path_problem(path) {
        problems.push(format!("mount {path:?}: {problem}"));
    } else if path == INFO {
        problems.push(format!(
            "mount {path:?}: the operations endpoint has that path itself"
        ));
    }
    if mount.timeout.is_some_and(|limit| limit.is_zero()) {
        problems.push(format!(
            "mount {path:?}: with a timeout of 0 s nothing is answered; None is no timeout"
        ));
    }
    for (link, _) in &mount.links {
        if !mount.subpaths || !mount.serves(link) {
            problems.push(format!(
                "mount {path:?}: the link {link:?} is not a path of it: it must be below, and needs \
                 subpaths()"
            ));
        }
    }
    problems
}

fn is_at_or_below(base: &str, path: &str) -> bool {
    let rest = path.strip_prefix(base);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(crate) fn path_problem(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        Some("does not begin with a slash")
    } else if path.ends_with('/') {
        Some("ends with a slash")
    } else if path.contains("//") {
        Some("has an empty segment")
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains(['?', '#']) {
        Some("has characters that no path has")
    } else {
        None
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("info", &self.info)
            .field("base", &self.base)
            .field("tokens", &self.tokens)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AdminBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBuilder")
            .field("config", &self.config)
            .field("version_header", &self.header)
            .finish()
    }
}
