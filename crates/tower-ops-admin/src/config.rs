use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderName};
use tokio::time::Instant;

use crate::mount::Mount;
use crate::tokens::Tokens;

/// What the clones of an [`Admin`](crate::Admin) share.
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) info: Vec<(String, String)>,
    pub(crate) phase: Option<Phase>,
    pub(crate) header: Option<HeaderName>,
    pub(crate) base: String,
    pub(crate) tokens: Tokens,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) since: Instant,
    /// Names under which it may be asked, besides those that nobody else has.
    pub(crate) hosts: Vec<String>,
    pub(crate) peer: Option<PeerOf>,
    #[cfg(feature = "server")]
    pub(crate) ephemeral_port: bool,
    #[cfg(feature = "server")]
    pub(crate) recorder: Option<Arc<dyn metrics::Recorder + Send + Sync>>,
}

/// Who sent a request, by its extensions.
pub(crate) type PeerOf = Arc<dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync>;

pub(crate) type Phase = Arc<dyn Fn() -> Cow<'static, str> + Send + Sync>;

impl Config {
    pub(crate) fn phase(&self) -> Option<Cow<'static, str>> {
        self.phase.as_ref().map(|phase| phase())
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.serves(path))
    }

    /// The paths there are, each with what it is about.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        self.mounts.iter().flat_map(|mount| {
            let more = mount.links.iter().map(|(path, about)| (&**path, &**about));
            std::iter::once((&*mount.path, &*mount.about)).chain(more)
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("mounts", &self.mounts)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}
