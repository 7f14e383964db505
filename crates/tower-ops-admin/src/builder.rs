use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderName};
use tokio::time::Instant;
use tower_ops_core::config::ConfigError;
use tower_ops_core::http::Host;

use crate::admin::Admin;
use crate::config::{Config, PeerOf, Phase};
use crate::index::INFO;
use crate::mount::Mount;
use crate::tokens::Tokens;

/// Configures an [`Admin`]. Made by [`Admin::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct AdminBuilder {
    name: String,
    version: Option<String>,
    info: Vec<(String, String)>,
    phase: Option<Phase>,
    header: Option<String>,
    base: String,
    tokens: Tokens,
    mounts: Vec<Mount>,
    hosts: Vec<String>,
    peer: Option<PeerOf>,
    #[cfg(feature = "server")]
    ephemeral_port: bool,
    #[cfg(feature = "server")]
    recorder: Option<Arc<dyn metrics::Recorder + Send + Sync>>,
}

impl AdminBuilder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            version: None,
            info: Vec::new(),
            phase: None,
            header: Some("x-tower-ops-version".into()),
            base: String::new(),
            tokens: Tokens::none(),
            mounts: Vec::new(),
            hosts: Vec::new(),
            peer: None,
            #[cfg(feature = "server")]
            ephemeral_port: false,
            #[cfg(feature = "server")]
            recorder: None,
        }
    }

    /// The application's version, such as `env!("CARGO_PKG_VERSION")`.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Something to know about the build or the place: a commit, a date, a region. Shown to
    /// everybody who may read.
    pub fn info(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.info.push((name.into(), value.into()));
        self
    }

    /// Where to ask for the phase that the process is in. Asked with each index; it must not
    /// block.
    pub fn phase(mut self, phase: impl Fn() -> Cow<'static, str> + Send + Sync + 'static) -> Self {
        self.phase = Some(Arc::new(phase));
        self
    }

    /// The header with the version of this library that every answer carries:
    /// `x-tower-ops-version` by default, `None` for none.
    pub fn version_header(mut self, name: impl Into<Option<&'static str>>) -> Self {
        self.header = name.into().map(str::to_owned);
        self
    }

    /// The prefix under which it is nested in a router, so that the links of the index have it.
    /// A [layer](Admin::layer) knows by itself.
    pub fn base(mut self, prefix: impl Into<String>) -> Self {
        self.base = prefix.into();
        self
    }

    /// Who may do what. Without, everybody may look and nobody may change anything.
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = tokens;
        self
    }

    /// Mounts a service.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Adds a host name under which the endpoint may be asked, such as `ops.orders.example.com`;
    /// without a port. IP addresses, `localhost`, single labels and what ends in `.localhost`,
    /// `.local`, `.internal` or `.svc` always may.
    ///
    /// Another name is answered 421: to clients on this machine, where a page of another site can
    /// reach the endpoint by a name of its own (DNS rebinding), and to everybody for what changes
    /// something.
    pub fn trusted_host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Where to find who sent a request that came on the application's port, in the request's
    /// extensions or in a task-local. On the endpoint's own port it is known.
    pub fn peer(
        mut self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = Some(Arc::new(peer));
        self
    }

    /// Port 0 takes any free port that the system gives, and not the first one from 8080 to 9000:
    /// for tests. Off by default.
    #[cfg(feature = "server")]
    #[cfg_attr(docsrs, doc(cfg(feature = "server")))]
    pub const fn ephemeral_port(mut self) -> Self {
        self.ephemeral_port = true;
        self
    }

    /// Counts what happens to connections with this recorder, and not with the process's one.
    #[cfg(feature = "server")]
    #[cfg_attr(docsrs, doc(cfg(feature = "server")))]
    pub fn recorder(mut self, recorder: Arc<dyn metrics::Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// If anything in the configuration is invalid; the error lists every problem.
    pub fn build(self) -> Result<Admin, ConfigError> {
        let header = self.header.as_deref().map(HeaderName::try_from);
        ConfigError::check(
            "the operations endpoint",
            self.problems(matches!(header, Some(Err(_)))),
        )?;
        Ok(Admin::new(Config {
            name: self.name,
            version: self.version,
            info: self.info,
            phase: self.phase,
            header: header.and_then(Result::ok),
            base: self.base,
            tokens: self.tokens,
            mounts: self.mounts,
            since: Instant::now(),
            hosts: self.hosts,
            peer: self.peer,
            #[cfg(feature = "server")]
            ephemeral_port: self.ephemeral_port,
            #[cfg(feature = "server")]
            recorder: self.recorder,
        }))
    }

    fn problems(&self, is_bad_header: bool) -> Vec<String> {
        let mut problems = Vec::new();
        if self.name.trim().is_empty() {
            problems.push("name: is empty; give the service's name, such as \"orders\"".into());
        }
        if is_bad_header {
            problems.push(format!(
                "version_header: {:?} is not a valid header name, such as \"x-tower-ops-version\"",
                self.header.as_deref().unwrap_or_default()
            ));
        }
        if !self.base.is_empty() {
            problems.extend(path_problem(&self.base).map(|it| format!("base: {it}")));
        }
        for host in &self.hosts {
            let parsed = Host::parse(host).map(|parsed| parsed.name());
            if host.is_empty() || parsed != Ok(host.as_str()) {
                problems.push(format!(
                    "trusted_host: {host:?} is not a host name without a port, such as \
                     \"ops.example.com\""
                ));
            }
        }
        for (place, (name, _)) in self.info.iter().enumerate() {
            if name.trim().is_empty() {
                problems.push("info: a name is empty".into());
            } else if self.info[..place].iter().any(|(other, _)| other == name) {
                problems.push(format!("info: {name:?} is given twice"));
            }
        }
        for (place, mount) in self.mounts.iter().enumerate() {
            problems.extend(mount_problems(mount));
            for other in &self.mounts[..place] {
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
        problems.push(format!("mount {path:?}: is the endpoint's own"));
    }
    if mount.timeout.is_some_and(|limit| limit.is_zero()) {
        problems.push(format!(
            "mount {path:?}: a timeout of 0 s answers nothing; None is no timeout"
        ));
    }
    for (link, _) in &mount.links {
        if !mount.subpaths || !mount.serves(link) {
            problems.push(format!(
                "mount {path:?}: the link {link:?} does not lead to it; it has to be below, and \
                 needs subpaths()"
            ));
        }
    }
    problems
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

impl fmt::Debug for AdminBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBuilder")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("info", &self.info)
            .field("version_header", &self.header)
            .field("base", &self.base)
            .field("tokens", &self.tokens)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}
