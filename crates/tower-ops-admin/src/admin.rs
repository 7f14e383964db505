use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_ops_core::http::{Answer, is_read, path, secure};
#[cfg(feature = "server")]
use tower_ops_core::recorder::RecorderHandle;
use tower_service::Service;

use crate::audit::AuditEntry;
use crate::body::{AdminBody, BoxError};
use crate::builder::{AdminBuilder, Config};
use crate::call::Call;
use crate::gate::{Question, objection};
use crate::index::{INDEX, INFO, index, info};
use crate::layer::AdminLayer;
use crate::mount::RemoteAddr;
#[cfg(feature = "server")]
use crate::server::workers::Worker;
use crate::tokens::{Access, Refusal, Role, Tokens};

const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));

/// The operations endpoint as one tower service. Cheap to clone.
///
/// It is always ready; a mounted service is polled ready for each request that it gets. Needs a
/// tokio runtime with time, for the timeouts of mounts.
#[derive(Clone)]
pub struct Admin {
    config: Arc<Config>,
    base: Arc<str>,
    is_private: bool,
    /// Where services run, if this is on the endpoint's own port.
    #[cfg(feature = "server")]
    worker: Option<Worker>,
}

impl Admin {
    /// Returns a builder with the application's name and nothing mounted.
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

    /// Declares that only operators and orchestrators reach the port on which a server of your own
    /// serves this. What is [open to everybody](Access::Public) is open there even if it changes
    /// something. `Admin::start` does the same, and a [layer](Self::layer) never does.
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
    pub(crate) fn recorder(&self) -> RecorderHandle {
        self.config.recorder.clone()
    }

    /// Whether requests come over a port of its own, and not over the application's.
    fn is_own_port(&self) -> bool {
        #[cfg(feature = "server")]
        let is_own = self.worker.is_some();
        #[cfg(not(feature = "server"))]
        let is_own = false;
        is_own
    }

    /// Returns a layer that puts the endpoint on the application's port, on the paths below
    /// `prefix`, such as `/ops`.
    ///
    /// Put it outermost: requests for operations are then in none of the application's metrics,
    /// traces and logs.
    ///
    /// What changes something needs a token for writing there, even if it is open to everybody on
    /// the endpoint's own port: the application's port may be on the internet.
    ///
    /// # Panics
    ///
    /// If the prefix is empty or `/`, which would take the application's own paths, or is no path.
    ///
    /// # Examples
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

    /// Returns the tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.config.tokens
    }

    /// How long the answer to a request for that path may take; `None` where the mounted service
    /// has time limits of its own.
    #[cfg(feature = "server")]
    pub(crate) fn timeout_for(&self, path: &str) -> Option<std::time::Duration> {
        match self.config.find(path) {
            Some(mount) => mount.timeout,
            None => Some(std::time::Duration::ZERO),
        }
    }

    /// Checks a request, in this order: host and origin, path, token, size of its body.
    fn route<B>(&self, request: Request<B>) -> Result<Routed<B>, Answer> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let is_own = matches!(path(uri), INDEX | INFO | "" | "*");
        let mount = (!is_own).then(|| self.config.find(uri.path())).flatten();
        // OPTIONS is answered as GET would be.
        let is_options = *method == Method::OPTIONS;
        let effective = if is_options { &Method::GET } else { method };
        let changes = mount.is_some_and(|mount| mount.changes(effective, uri));
        let peer = self.peer(&request);
        let objection = objection(&Question {
            version: request.version(),
            uri,
            headers,
            changes,
            is_local: peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()),
            is_own_port: self.is_own_port(),
            names: &self.config.hosts,
        });
        if let Some(objection) = objection {
            let (status, problem) = objection.answer();
            return Err(Answer::problem(status, problem));
        }
        if is_own {
            if !is_read(method) {
                return Err(Answer::method_not_allowed(&["GET", "HEAD"]));
            }
            self.authorize(headers, Access::Read)?;
            let content = if path(uri) == INFO {
                info(&self.config)
            } else {
                index(&self.config, &self.base, headers)
            };
            return Err(content);
        }
        let Some(mount) = mount else {
            let paths: Vec<_> = self.config.links().map(|(path, _)| path).collect();
            return Err(Answer::not_found(&paths));
        };
        let mut needs = mount.needs(effective);
        if changes && !self.is_private && self.config.tokens.is_open(needs) {
            needs = Access::Write;
        }
        self.authorize(headers, needs)?;
        let length = headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let most = mount.max_body.and_then(|most| u64::try_from(most).ok());
        if let (Some(length), Some(most)) = (length, most)
            && length > most
        {
            let problem = format!("the body has {length} bytes; at most {most} are accepted");
            return Err(Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, &problem));
        }
        // Nothing answers OPTIONS for a service whose GET changes something.
        if is_options && changes && !mount.answers_options {
            return Err(Answer::ok(&()));
        }
        let call = Call {
            mount: mount.clone(),
            method: method.clone(),
            audit: (changes && !is_options).then(|| self.audit(&request, peer)),
            #[cfg(feature = "server")]
            worker: self.worker.clone().filter(|_| !mount.is_probe),
        };
        Ok(Routed { call, request })
    }

    /// The address of the client, as far as it is known.
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

    fn authorize(&self, headers: &HeaderMap, needs: Access) -> Result<(), Answer> {
        let Err(refusal) = self.config.tokens.authorize(headers, needs) else {
            return Ok(());
        };
        let (status, problem) = match refusal {
            Refusal::Unknown => (
                StatusCode::UNAUTHORIZED,
                "a bearer token is needed, and the request has none that is known",
            ),
            Refusal::RoleTooLow => (StatusCode::FORBIDDEN, "this token permits reading only"),
            Refusal::Closed => (
                StatusCode::FORBIDDEN,
                "closed: this needs a token for writing, and the service has not set one",
            ),
        };
        Err(Answer::problem(status, problem))
    }
}

/// A request that a mounted service gets.
struct Routed<B> {
    call: Call,
    request: Request<B>,
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
        let finish = move |mut response: Response<AdminBody>| {
            let headers = response.headers_mut();
            secure(headers);
            if let Some(header) = &config.header {
                headers.insert(header.clone(), VERSION);
            }
            response
        };
        let method = request.method().clone();
        let inner: BoxedResponse = match self.route(request) {
            Ok(Routed { call, request }) => Box::pin(call.serve(request).map(finish)),
            Err(answer) => {
                let response = answer.into_response(&method).map(AdminBody::new);
                Box::pin(ready(finish(response)))
            }
        };
        AdminFuture { inner }
    }
}

/// The future of an [`Admin`].
///
/// # Cancel safety
///
/// Dropping it drops the mounted service's future.
pub struct AdminFuture {
    inner: BoxedResponse,
}

type BoxedResponse = Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>;

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
