use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use http_body::Body;
use tower_ops_core::http::is_read;
use tower_service::Service;

use crate::body::{AdminBody, AdminRequestBody, BoxError};
use crate::tokens::Access;

/// How long a mounted service may take to answer, by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes the body of a request may have, by default.
pub const DEFAULT_MAX_BODY: usize = 64 * 1024;

/// A service and the path that it is mounted on. It gets the path as it was requested, without the
/// prefix of a [layer](crate::Admin::layer).
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
    pub(crate) service: BoxedService,
    pub(crate) about: Cow<'static, str>,
    pub(crate) links: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) subpaths: bool,
    pub(crate) access: Access,
    pub(crate) changes_need: Access,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_body: Option<usize>,
    pub(crate) changes: Changes,
    pub(crate) is_probe: bool,
    pub(crate) answers_options: bool,
}

/// Which requests change something.
#[derive(Clone)]
pub(crate) enum Changes {
    /// Those with another method than GET, HEAD and OPTIONS.
    ByMethod,
    /// None: other methods are refused.
    Never,
    /// Those for which this returns true.
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
            service: BoxedService(Arc::new(Cloned(service))),
            about: "".into(),
            links: Vec::new(),
            subpaths: false,
            access: Access::Read,
            changes_need: Access::Write,
            timeout: Some(DEFAULT_TIMEOUT),
            max_body: Some(DEFAULT_MAX_BODY),
            changes: Changes::ByMethod,
            is_probe: false,
            answers_options: false,
        }
    }

    /// Sets the text beside the path in the index. None by default.
    pub fn about(mut self, about: impl Into<Cow<'static, str>>) -> Self {
        self.about = about.into();
        self
    }

    /// Adds another path that the service answers to the index. Needs
    /// [`subpaths`](Self::subpaths).
    pub fn link(
        mut self,
        path: impl Into<Cow<'static, str>>,
        about: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.links.push((path.into(), about.into()));
        self
    }

    /// Sends requests for paths below its own to the service as well. Off by default.
    pub const fn subpaths(mut self) -> Self {
        self.subpaths = true;
        self
    }

    /// Sets what GET, HEAD and OPTIONS need. [`Access::Read`] by default.
    pub const fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets what the other methods need. [`Access::Write`] by default.
    pub const fn changes_need(mut self, access: Access) -> Self {
        self.changes_need = access;
        self
    }

    /// Sets how long the service may take until the head of its answer. 30 s by default. After
    /// that the answer is 504, and the service's future is dropped. Use `None` for a service with
    /// time limits of its own.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.timeout = limit.into();
        self
    }

    /// Sets how many bytes the body of a request may have. 64 KiB by default. The answer is 413 if
    /// `content-length` is more; otherwise reading the body fails. Use `None` for a service with a
    /// limit of its own.
    pub fn max_body(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.max_body = bytes.into();
        self
    }

    /// Sets which requests change something. By default those with another method than GET, HEAD
    /// and OPTIONS. Use it for a service that stops or moves something on GET.
    ///
    /// A request that changes something is refused if it comes from a page of another site (403) or
    /// under a host name that such a page can use (421). It needs a token for writing where the
    /// endpoint is on the application's port. It leaves an audit event with the target
    /// `tower_ops::audit`. OPTIONS never changes anything.
    pub fn changes_if(
        mut self,
        changes: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.changes = Changes::If(Arc::new(changes));
        self
    }

    /// Declares that no request changes anything: the service refuses methods that it does not
    /// know. Every method needs what [`access`](Self::access) sets.
    pub fn reads_only(mut self) -> Self {
        self.changes = Changes::Never;
        self
    }

    /// Declares that the service answers at once, from memory, with a small body. It runs on the
    /// server's own thread, and is never answered 503 because of other requests. Other mounts run
    /// on two threads beside it.
    pub const fn probe(mut self) -> Self {
        self.is_probe = true;
        self
    }

    /// Declares that the service answers OPTIONS itself, without any effect. Other services get GET
    /// instead, where that changes nothing, and their answer is sent without its body.
    pub const fn answers_options(mut self) -> Self {
        self.answers_options = true;
        self
    }

    pub(crate) fn changes(&self, method: &Method, uri: &Uri) -> bool {
        match &self.changes {
            _ if *method == Method::OPTIONS => false,
            Changes::ByMethod => !is_read(method),
            Changes::Never => false,
            Changes::If(changes) => changes(method, uri),
        }
    }

    pub(crate) fn serves(&self, path: &str) -> bool {
        match path.strip_prefix(&*self.path) {
            Some("" | "/") => true,
            Some(rest) => self.subpaths && rest.starts_with('/'),
            None => false,
        }
    }

    /// Returns what a request with this method needs.
    pub(crate) const fn needs(&self, method: &Method) -> Access {
        if is_read(method) || matches!(self.changes, Changes::Never) {
            self.access
        } else {
            self.changes_need
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
            .field("changes_need", &self.changes_need)
            .field("timeout", &self.timeout)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

/// The address of the client, in the extensions of a request that came over the endpoint's own
/// port: for a mounted service that logs who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemoteAddr(SocketAddr);

impl RemoteAddr {
    /// Returns one with the address of a client.
    #[must_use]
    pub const fn new(addr: SocketAddr) -> Self {
        Self(addr)
    }

    /// Returns the address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.0
    }
}

pub(crate) type BoxedFuture =
    Pin<Box<dyn Future<Output = Result<Response<AdminBody>, BoxError>> + Send>>;

/// A mounted service of any type. Each request gets a clone of its own, which is polled ready
/// first.
#[derive(Clone)]
pub(crate) struct BoxedService(Arc<dyn CallCloned>);

trait CallCloned: Send + Sync {
    fn call(&self, request: Request<AdminRequestBody>) -> BoxedFuture;
}

struct Cloned<S>(S);

impl<S, B> CallCloned for Cloned<S>
where
    S: Service<Request<AdminRequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn call(&self, request: Request<AdminRequestBody>) -> BoxedFuture {
        let mut service = self.0.clone();
        Box::pin(async move {
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            ready.map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(response.map(AdminBody::new))
        })
    }
}

impl BoxedService {
    pub(crate) fn call(&self, request: Request<AdminRequestBody>) -> BoxedFuture {
        self.0.call(request)
    }
}
