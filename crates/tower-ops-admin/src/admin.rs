use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_ops_core::http::{Answer, is_read, path};
use tower_service::Service;

use crate::access::{Access, Role};
use crate::audit::AuditEntry;
use crate::body::{AdminBody, AdminRequestBody, BoxError};
use crate::builder::AdminBuilder;
use crate::config::Config;
use crate::gate::{self, objection};
use crate::index::{INDEX, INFO, index, info};
use crate::layer::AdminLayer;
use crate::options;
use crate::remote::RemoteAddr;
use crate::serve::Call;
use crate::tokens::{Refusal, Tokens};
#[cfg(feature = "server")]
use crate::workers::Worker;

const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));

/// The operations endpoint as one tower service. Cheap to clone.
///
/// Always ready to be called; a mounted service is polled ready for each request that it gets.
/// Needs a tokio runtime with time, for the timeouts of mounts.
#[derive(Clone)]
pub struct Admin {
    config: Arc<Config>,
    base: Arc<str>,
    is_private: bool,
    /// Where services work, if this is on the endpoint's own port.
    #[cfg(feature = "server")]
    worker: Option<Worker>,
}

impl Admin {
    /// Begins with the application's name, and nothing mounted.
    pub fn builder(name: impl Into<String>) -> AdminBuilder {
        AdminBuilder::new(name.into())
    }

    pub(crate) fn new(config: Config) -> Self {
        Self {
            base: config.base.as_str().into(),
            config: Arc::new(config),
            is_private: false,
            #[cfg(feature = "server")]
            worker: None,
        }
    }

    pub(crate) fn based(&self, base: &str) -> Self {
        Self {
            config: Arc::clone(&self.config),
            base: base.into(),
            is_private: false,
            #[cfg(feature = "server")]
            worker: None,
        }
    }

    #[cfg(feature = "server")]
    pub(crate) fn on_own_port(&self, worker: Worker) -> Self {
        Self {
            is_private: true,
            worker: Some(worker),
            ..self.clone()
        }
    }

    /// Says that only operators and orchestrators reach the port on which this is served by a
    /// server of your own: what [is open to everybody](Access::Public) is open there, also what
    /// changes something. `Admin::start` does so by itself, and a [layer](Self::layer) never.
    #[must_use]
    pub fn on_private_port(mut self) -> Self {
        self.is_private = true;
        self
    }

    #[cfg(feature = "server")]
    pub(crate) fn takes_any_port(&self) -> bool {
        self.config.ephemeral_port
    }

    #[cfg(feature = "server")]
    pub(crate) fn recorder(&self) -> Option<Arc<dyn metrics::Recorder + Send + Sync>> {
        self.config.recorder.clone()
    }

    /// Whether it is not the application's port that a request came on.
    fn is_own_port(&self) -> bool {
        #[cfg(feature = "server")]
        let is_own = self.worker.is_some();
        #[cfg(not(feature = "server"))]
        let is_own = false;
        is_own
    }

    /// Puts the endpoint on the application's port, on the paths below `prefix`, such as `/ops`.
    ///
    /// Put the layer outermost: then what asks for operations is in none of the application's
    /// metrics, traces and logs.
    ///
    /// Whatever changes something needs a token for writing there, also if it is open to everybody
    /// on the endpoint's own port: this one may be on the internet.
    ///
    /// # Panics
    ///
    /// If the prefix is empty or `/`, which would take the application's own paths, or is no path.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_ops_admin::Admin;
    ///
    /// # fn example(admin: Admin) {
    /// let app: Router = Router::new()
    ///     .route("/", get(|| async { "hello" }))
    ///     .fallback(|| async { "nothing here" }) // a Router's layer needs a route to wrap
    ///     .layer(admin.layer("/ops"));
    /// # let _ = app;
    /// # }
    /// ```
    #[must_use]
    pub fn layer(&self, prefix: impl AsRef<str>) -> AdminLayer {
        AdminLayer::new(self, prefix.as_ref())
    }

    /// Who may do what.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.config.tokens
    }

    /// How long whoever serves this should give a request in all; `None` where the mounted
    /// service has time limits of its own.
    #[cfg(feature = "server")]
    pub(crate) fn time_for(&self, path: &str) -> Option<std::time::Duration> {
        match self.config.find(path) {
            Some(mount) => mount.timeout,
            None => Some(std::time::Duration::ZERO),
        }
    }

    fn answer<B>(&self, request: Request<B>) -> Answering
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (method, uri) = (request.method(), request.uri());
        let is_own = matches!(path(uri), INDEX | INFO | "" | "*");
        let mount = (!is_own).then(|| self.config.find(uri.path())).flatten();
        // What OPTIONS is answered is what GET would be.
        let asked = match *method {
            Method::OPTIONS => &Method::GET,
            _ => method,
        };
        let changes = mount.is_some_and(|mount| mount.changes(asked, uri));
        let peer = self.peer(&request);
        let objection = objection(&gate::Asked {
            version: request.version(),
            uri,
            headers: request.headers(),
            changes,
            is_local: peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()),
            is_own_port: self.is_own_port(),
            names: &self.config.hosts,
        });
        if let Some(objection) = objection {
            let (status, problem) = objection.answer();
            return now(Answer::problem(status, problem), method);
        }
        if is_own {
            return Answering::Now(self.own(&request));
        }
        let Some(mount) = mount else {
            let paths: Vec<_> = self.config.links().map(|(path, _)| path).collect();
            return now(Answer::not_found(&paths), method);
        };
        let mut needs = mount.needs(asked);
        if changes && !self.is_private && self.config.tokens.is_open(needs) {
            needs = Access::Write;
        }
        if let Some(refusal) = self.refuse(&request, needs) {
            return Answering::Now(refusal);
        }
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let most = mount.most.and_then(|most| u64::try_from(most).ok());
        if let (Some(length), Some(most)) = (length, most)
            && length > most
        {
            let problem = format!("the body has {length} bytes, and {most} are the most");
            let answer = Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, &problem);
            return now(answer, method);
        }
        let is_options = *method == Method::OPTIONS;
        if is_options && changes && !mount.knows_options {
            return now(Answer::ok(&()), method);
        }
        let audit = (changes && !is_options).then(|| self.audit(&request, peer));
        let method = method.clone();
        let request = if is_options && !mount.knows_options {
            options::as_get(&request)
        } else {
            request.map(|body| AdminRequestBody::new(body, mount.most))
        };
        let call = Call {
            mount: mount.clone(),
            method,
            audit,
            #[cfg(feature = "server")]
            worker: self.worker.clone().filter(|_| !mount.is_probe),
        };
        Answering::Later(Box::pin(call.serve(request)))
    }

    /// Who sent it, as far as it is known.
    fn peer<B>(&self, request: &Request<B>) -> Option<SocketAddr> {
        let extensions = request.extensions();
        let remote = extensions.get().map(RemoteAddr::addr);
        remote.or_else(|| self.config.peer.as_ref()?(extensions))
    }

    fn audit<B>(&self, request: &Request<B>, peer: Option<SocketAddr>) -> AuditEntry {
        let headers = request.headers();
        let token = match self.config.tokens.role(headers) {
            Some(Role::Write) => "write",
            Some(Role::Read) => "read",
            None => "none",
        };
        AuditEntry::new(request.method(), request.uri().path(), peer, headers, token)
    }

    /// The index and the information.
    fn own<B>(&self, request: &Request<B>) -> Response<AdminBody> {
        let method = request.method();
        if !is_read(method) {
            let answer = Answer::method_not_allowed(&["GET", "HEAD"]);
            return answer.into_response(method).map(AdminBody::new);
        }
        if let Some(refusal) = self.refuse(request, Access::Read) {
            return refusal;
        }
        if path(request.uri()) == INFO {
            return info(&self.config, method);
        }
        index(&self.config, &self.base, method, request.headers())
    }

    fn refuse<B>(&self, request: &Request<B>, needs: Access) -> Option<Response<AdminBody>> {
        let refusal = self.config.tokens.check(request.headers(), needs).err()?;
        let (status, problem) = match refusal {
            Refusal::Unknown => (
                StatusCode::UNAUTHORIZED,
                "a bearer token is needed here, and this has none that is known",
            ),
            Refusal::RoleTooLow => (StatusCode::FORBIDDEN, "this token is good for reading only"),
            Refusal::Closed => (
                StatusCode::FORBIDDEN,
                "closed: this needs a token for writing, and the service has not set one",
            ),
        };
        let answer = Answer::problem(status, problem);
        Some(answer.into_response(request.method()).map(AdminBody::new))
    }
}

enum Answering {
    Now(Response<AdminBody>),
    Later(Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>),
}

fn now(answer: Answer, method: &Method) -> Answering {
    Answering::Now(answer.into_response(method).map(AdminBody::new))
}

impl<B> Service<Request<B>> for Admin
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = AdminFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> AdminFuture {
        let config = Arc::clone(&self.config);
        let marked = move |mut response: Response<AdminBody>| {
            let headers = response.headers_mut();
            tower_ops_core::http::secure(headers);
            if let Some(header) = &config.header {
                headers.insert(header.clone(), VERSION);
            }
            response
        };
        let inner: Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>> =
            match self.answer(request) {
                Answering::Now(response) => Box::pin(ready(marked(response))),
                Answering::Later(later) => Box::pin(later.map(marked)),
            };
        AdminFuture { inner }
    }
}

/// An answer of the operations endpoint, when there is one.
///
/// May be dropped at any time, if the mounted service's may.
pub struct AdminFuture {
    inner: Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>,
}

impl Future for AdminFuture {
    type Output = Result<Response<AdminBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for AdminFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("config", &self.config)
            .field("base", &self.base)
            .finish()
    }
}
