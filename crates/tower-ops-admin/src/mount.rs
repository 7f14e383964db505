use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::access::{Access, is_safe};
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

    pub(crate) fn serves(&self, path: &str) -> bool {
        match path.strip_prefix(&*self.path) {
            Some("") => true,
            Some(rest) => self.subpaths && rest.starts_with('/'),
            None => false,
        }
    }

    pub(crate) const fn needs(&self, method: &Method) -> Access {
        if is_safe(method) {
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
