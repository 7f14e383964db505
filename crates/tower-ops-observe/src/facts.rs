use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, Method, Request, Version, uri::Scheme};
use tokio::time::Instant;

use crate::route::Route;

static UNMATCHED: Route = Route::UNMATCHED;
static OTHER: Route = Route::OTHER;

/// Which end of an exchange is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Side {
    /// A request that came in.
    Server,
    /// A request that goes out.
    Client,
}

/// A request method, out of a closed list.
///
/// The list is that of the OpenTelemetry conventions: RFC 9110, `PATCH`
/// (RFC 5789) and `QUERY`. Methods are case-sensitive; all else is
/// [`Other`](Self::Other), so that a client cannot invent new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named after the method that it is")]
#[non_exhaustive]
pub enum KnownMethod {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Query,
    /// Any other.
    Other,
}

impl KnownMethod {
    /// Every method, in the order of the definition.
    pub const ALL: [Self; 11] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Patch,
        Self::Query,
        Self::Other,
    ];

    /// The method as it is written, or `_OTHER`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Query => "QUERY",
            Self::Other => "_OTHER",
        }
    }
}

impl From<&Method> for KnownMethod {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::DELETE => Self::Delete,
            Method::CONNECT => Self::Connect,
            Method::OPTIONS => Self::Options,
            Method::TRACE => Self::Trace,
            Method::PATCH => Self::Patch,
            _ if method.as_str() == "QUERY" => Self::Query,
            _ => Self::Other,
        }
    }
}

/// What all observers of one exchange share.
///
/// Whoever learns a fact writes it here and the others read it, so that no
/// observer has to know another. The layer itself writes the start, the side,
/// the method, the version, the scheme, the route and the request's size.
#[derive(Debug)]
pub struct Facts {
    pub(crate) started: Instant,
    pub(crate) side: Side,
    pub(crate) method: KnownMethod,
    pub(crate) version: Version,
    pub(crate) secure: bool,
    pub(crate) route: Option<Route>,
    pub(crate) rpc: Rpc,
    pub(crate) request_bytes: RequestBytes,
    request_id: Option<HeaderValue>,
    request_id_replaced: bool,
    trace_id: Option<u128>,
    peer: Option<SocketAddr>,
    connection: Option<u64>,
}

/// Whether an exchange is a gRPC call, and of which method.
#[derive(Debug)]
pub(crate) enum Rpc {
    No,
    /// A method that this service is known to have.
    Known(Route),
    /// The request says that it is gRPC; the response will tell whether anybody
    /// registered the method.
    Claimed(Option<Arc<str>>),
    /// A method that nobody registered.
    Other,
}

/// The size of the request's body, as far as it is known.
#[derive(Debug)]
pub(crate) enum RequestBytes {
    /// No body, or one of unknown size that cannot be counted.
    Unknown,
    /// Known up front.
    Exact(u64),
    /// Counted as the service reads it.
    #[cfg_attr(
        not(feature = "axum"),
        expect(dead_code, reason = "only axum's body can be wrapped in itself")
    )]
    Counted(Arc<AtomicU64>),
}

impl Facts {
    pub(crate) fn new<B>(side: Side, request: &Request<B>) -> Self {
        Self {
            started: Instant::now(),
            side,
            method: KnownMethod::from(request.method()),
            version: request.version(),
            secure: request.uri().scheme() == Some(&Scheme::HTTPS),
            route: Route::of(request),
            rpc: Rpc::No,
            request_bytes: RequestBytes::Unknown,
            request_id: None,
            request_id_replaced: false,
            trace_id: None,
            peer: None,
            connection: None,
        }
    }

    /// When the request's head was there.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Whether the request came in or goes out.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// The request's method.
    #[must_use]
    pub const fn method(&self) -> KnownMethod {
        self.method
    }

    /// The request's HTTP version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// `https` if the request's target says so, else `http`. An HTTP/1.1
    /// request seldom says, and a proxy in front may have ended TLS.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The route: a template, `package.Service/Method` for gRPC, or `None` if
    /// no route matched or nothing has told it yet.
    #[must_use]
    pub const fn route(&self) -> Option<&Route> {
        match &self.rpc {
            Rpc::Known(method) => Some(method),
            Rpc::Other | Rpc::Claimed(_) => Some(&OTHER),
            Rpc::No => self.route.as_ref(),
        }
    }

    /// The route's template, or `{unmatched}`.
    #[must_use]
    pub fn route_or_unmatched(&self) -> &str {
        self.route().unwrap_or(&UNMATCHED).as_str()
    }

    /// Sets the route, for routers that this crate does not know.
    pub fn set_route(&mut self, route: Route) {
        self.route = Some(route);
    }

    /// Whether this is a gRPC call. Certain once there is a response head; until
    /// then it is what the request says.
    #[must_use]
    pub const fn is_grpc(&self) -> bool {
        !matches!(self.rpc, Rpc::No)
    }

    /// The size of the request's body in bytes: announced, or else counted so
    /// far. `None` for a request without a body, and for a streamed body that
    /// could not be counted: the `axum` feature counts axum's bodies.
    #[must_use]
    pub fn request_body_size(&self) -> Option<u64> {
        match &self.request_bytes {
            RequestBytes::Unknown => None,
            RequestBytes::Exact(bytes) => Some(*bytes),
            RequestBytes::Counted(bytes) => Some(bytes.load(Ordering::Relaxed)),
        }
    }

    /// The request id, as it stands in the headers.
    #[must_use]
    pub const fn request_id(&self) -> Option<&HeaderValue> {
        self.request_id.as_ref()
    }

    /// Sets the request id.
    pub fn set_request_id(&mut self, id: HeaderValue) {
        self.request_id = Some(id);
    }

    /// Whether an invalid inbound request id was replaced.
    #[must_use]
    pub const fn request_id_replaced(&self) -> bool {
        self.request_id_replaced
    }

    /// Notes that an invalid inbound request id was replaced.
    pub const fn set_request_id_replaced(&mut self) {
        self.request_id_replaced = true;
    }

    /// The W3C trace id.
    #[must_use]
    pub const fn trace_id(&self) -> Option<u128> {
        self.trace_id
    }

    /// Sets the W3C trace id.
    pub const fn set_trace_id(&mut self, id: u128) {
        self.trace_id = Some(id);
    }

    /// The socket address of the peer, if an observer told it.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Sets the socket address of the peer.
    pub const fn set_peer(&mut self, peer: SocketAddr) {
        self.peer = Some(peer);
    }

    /// The id of the connection.
    #[must_use]
    pub const fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// Sets the id of the connection.
    pub const fn set_connection(&mut self, id: u64) {
        self.connection = Some(id);
    }
}
