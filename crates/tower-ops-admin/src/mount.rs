use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use http_body::Body;
use tower_ops_core::http::is_read;
use tower_service::Service;

use crate::access::Access;
use crate::body::{AdminRequestBody, BoxError};
use crate::erased::Erased;

/// How long a mounted service may take to answer, unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes the body of a request may have, unless told otherwise.
pub const DEFAULT_BODY: usize = 64 * 1024;

/// A service, and where it is mounted. It sees the path as it was asked for, without the prefix
/// of a [layer](crate::Admin::layer).
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use http::Response;
/// use tower::service_fn;
/// use tower_ops_admin::{Access, Mount};
///
/// let jobs = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
/// let mount = Mount::new("/jobs", jobs)
///     .about("jobs that wait")
///     .subpaths() // and /jobs/7
///     .changes_need(Access::Write); // POST, DELETE and the like
/// # let _ = mount;
/// ```
#[derive(Clone)]
#[must_use = "it has to be given to a builder"]
pub struct Mount {
    pub(crate) path: Cow<'static, str>,
    pub(crate) service: Erased,
    pub(crate) about: Cow<'static, str>,
    pub(crate) links: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) subpaths: bool,
    pub(crate) access: Access,
    pub(crate) changes: Access,
    pub(crate) timeout: Option<Duration>,
    pub(crate) most: Option<usize>,
    pub(crate) effects: Effects,
    pub(crate) is_probe: bool,
    pub(crate) knows_options: bool,
}

/// Which requests change something.
#[derive(Clone)]
pub(crate) enum Effects {
    /// Those with another method than GET, HEAD and OPTIONS.
    ByMethod,
    /// None: other methods are refused.
    None,
    /// Those of which this says so.
    If(Arc<dyn Fn(&Method, &Uri) -> bool + Send + Sync>),
}

impl Mount {
    /// Mounts `service` on `path`, which begins with a slash.
    pub fn new<S, B>(path: impl Into<Cow<'static, str>>, service: S) -> Self
    where
        S: Service<Request<AdminRequestBody>, Response = Response<B>>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self {
            path: path.into(),
            service: Erased::new(service),
            about: "".into(),
            links: Vec::new(),
            subpaths: false,
            access: Access::Read,
            changes: Access::Write,
            timeout: Some(DEFAULT_TIMEOUT),
            most: Some(DEFAULT_BODY),
            effects: Effects::ByMethod,
            is_probe: false,
            knows_options: false,
        }
    }

    /// What the index says about it.
    pub fn about(mut self, about: impl Into<Cow<'static, str>>) -> Self {
        self.about = about.into();
        self
    }

    /// One more path in the index that the service answers. Needs [`subpaths`](Self::subpaths).
    pub fn link(
        mut self,
        path: impl Into<Cow<'static, str>>,
        about: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.links.push((path.into(), about.into()));
        self
    }

    /// Sends it the paths below its own as well.
    pub const fn subpaths(mut self) -> Self {
        self.subpaths = true;
        self
    }

    /// What GET, HEAD and OPTIONS need. [`Access::Read`] by default.
    pub const fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// What the other methods need. [`Access::Write`] by default.
    pub const fn changes_need(mut self, access: Access) -> Self {
        self.changes = access;
        self
    }

    /// How long the service may take until the head of its answer: 30 s by default. After that
    /// the answer is 504, and the service's future is dropped. `None` for services that have time
    /// limits of their own.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.timeout = limit.into();
        self
    }

    /// How many bytes the body of a request may have: 64 KiB by default. If its length says more,
    /// the answer is 413; else reading it fails. `None` for services that have a limit of their
    /// own.
    pub fn max_body(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.most = bytes.into();
        self
    }

    /// Which requests change something: those with another method than GET, HEAD and OPTIONS
    /// unless said otherwise. For a service that stops or moves something at a GET.
    ///
    /// What changes something is refused to pages of other sites (403), and to names by which a
    /// page of another site could reach it (421); it is never open to everybody where the
    /// endpoint is on the application's port; and it leaves an audit event with the target
    /// `tower_ops::audit`. OPTIONS never changes anything.
    pub fn changes_if(
        mut self,
        changes: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.effects = Effects::If(Arc::new(changes));
        self
    }

    /// Nothing changes by it, whatever the method: the service refuses those that it does not
    /// know. Every method needs what [`access`](Self::access) says.
    pub fn reads_only(mut self) -> Self {
        self.effects = Effects::None;
        self
    }

    /// Answers at once, from memory and with little: on the endpoint's own thread, and never 503
    /// because of others. Everything else works on two threads beside it.
    pub const fn probe(mut self) -> Self {
        self.is_probe = true;
        self
    }

    /// The service answers OPTIONS itself, without any effect. Others are asked with GET instead
    /// (where that changes nothing), and the answer goes without its body.
    pub const fn answers_options(mut self) -> Self {
        self.knows_options = true;
        self
    }

    pub(crate) fn changes(&self, method: &Method, uri: &Uri) -> bool {
        match &self.effects {
            _ if *method == Method::OPTIONS => false,
            Effects::ByMethod => !is_read(method),
            Effects::None => false,
            Effects::If(changes) => changes(method, uri),
        }
    }

    pub(crate) fn serves(&self, path: &str) -> bool {
        match path.strip_prefix(&*self.path) {
            Some("" | "/") => true,
            Some(rest) => self.subpaths && rest.starts_with('/'),
            None => false,
        }
    }

    /// What a request with this method needs.
    pub(crate) const fn needs(&self, method: &Method) -> Access {
        if is_read(method) || matches!(self.effects, Effects::None) {
            self.access
        } else {
            self.changes
        }
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount")
            .field("path", &self.path)
            .field("about", &self.about)
            .field("subpaths", &self.subpaths)
            .field("access", &self.access)
            .field("changes_need", &self.changes)
            .field("timeout", &self.timeout)
            .field("max_body", &self.most)
            .finish_non_exhaustive()
    }
}
