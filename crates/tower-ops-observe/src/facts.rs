use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Request, Version, uri::Scheme};
use tokio::time::Instant;

use crate::current::{CurrentSlot, NONE, RequestFacts};
use crate::known_method::KnownMethod;
use crate::request::RequestProgress;
use crate::route::Route;
use crate::trace_ids::TraceIds;

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

/// What all observers of one exchange share.
///
/// The observer that learns a fact writes it here and the others read it, so that no
/// observer has to know another. The layer itself writes the start, the side,
/// the method, the version, the scheme, the route and the request's body.
#[derive(Debug)]
pub struct Facts {
    pub(crate) started: Instant,
    pub(crate) side: Side,
    pub(crate) method: KnownMethod,
    pub(crate) version: Version,
    pub(crate) route: Option<Route>,
    pub(crate) rpc: Rpc,
    pub(crate) request: Option<Arc<RequestProgress>>,
    pub(crate) response_size: Option<u64>,
    /// Lies in the thread's slot while code of the service runs.
    pub(crate) current: CurrentSlot,
    request_id_replaced: bool,
    nested: bool,
}

/// Whether an exchange is a gRPC call, and of which method.
#[derive(Debug)]
pub(crate) enum Rpc {
    No,
    /// A method that this service is known to have.
    Known(Route),
    /// The request claims to be gRPC; the response will show whether the method is
    /// registered.
    Claimed(Option<Arc<str>>),
    /// A method that nobody registered.
    Other,
}

impl Facts {
    /// Those of no exchange yet.
    pub(crate) fn unused() -> Self {
        Self {
            started: Instant::now(),
            side: Side::Server,
            method: KnownMethod::Other,
            version: Version::HTTP_11,
            route: None,
            rpc: Rpc::No,
            request: None,
            response_size: None,
            nested: false,
            current: None,
            request_id_replaced: false,
        }
    }

    /// Begins an exchange, in the place of one that was [cleared](Self::clear).
    pub(crate) fn begin<B>(&mut self, side: Side, request: &Request<B>) {
        self.started = Instant::now();
        self.side = side;
        self.method = KnownMethod::from(request.method());
        self.version = request.version();
        self.route = Route::of(request);
        self.response_size = None;
        self.request_id_replaced = false;
        let current = self.current.get_or_insert_default();
        self.nested = begin(&mut current.facts, side, request);
    }

    /// Drops what must not live longer than the exchange. Keeps the box of what is current.
    pub(crate) fn clear(&mut self) {
        self.route = None;
        self.rpc = Rpc::No;
        self.request = None;
        if let Some(current) = &mut self.current {
            current.facts.clear();
        }
    }

    /// Whether an exchange that another layer observes is being served around this one: of the
    /// same request, or of one whose handler sends this request.
    #[must_use]
    pub const fn is_nested(&self) -> bool {
        self.nested
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

    /// `https` or `http`: what the connection is, once an observer has
    /// [set](Self::set_scheme) it.
    ///
    /// Until then it is `https` only for a request that goes out to such a target,
    /// and for HTTP/2 where the client sent it in `:scheme`. An HTTP/1 request that
    /// came in counts as `http`: its target is the client's choice.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.known().secure { "https" } else { "http" }
    }

    /// Sets the scheme, for who knows whether the connection is encrypted.
    ///
    /// Must come before the observers that read it, in a tuple of observers: call
    /// it in [`on_request`](crate::Observe::on_request), not later.
    pub fn set_scheme(&mut self, scheme: &Scheme) {
        self.known_mut().secure = *scheme == Scheme::HTTPS;
    }

    /// The route: a template, `package.Service/Method` for gRPC, or `None` if
    /// no route matched or none is known yet.
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
    /// then it is what the request claims.
    #[must_use]
    pub const fn is_grpc(&self) -> bool {
        !matches!(self.rpc, Rpc::No)
    }

    /// The bytes of the request's body that the service has read so far.
    ///
    /// Counted as they come: what a client announces is not recorded. `None` for a
    /// request without a body, and where the body is of a type that cannot be
    /// counted. The features `axum` and `tonic` count those of axum and of tonic;
    /// hyper's `Incoming` cannot be counted.
    #[must_use]
    pub fn request_body_size(&self) -> Option<u64> {
        self.request.as_ref().map(|request| request.read())
    }

    /// Whether nothing more of the request's body can come: it was read to its end,
    /// or dropped, or there is none that is counted.
    #[must_use]
    pub fn is_request_body_over(&self) -> bool {
        self.request
            .as_ref()
            .is_none_or(|request| request.is_over())
    }

    /// Calls `record` with the size of the request's body once nothing more of it
    /// can come: at once, if it was read to its end or dropped, or else when that
    /// happens, perhaps after the exchange has ended and on another thread.
    ///
    /// Returns whether there is a body that is counted; if there is none, `record`
    /// is dropped. Allocates if the body is still there.
    pub fn at_request_body_end(&self, record: impl FnOnce(u64) + Send + 'static) -> bool {
        if let Some(request) = &self.request {
            request.at_end(record);
        }
        self.request.is_some()
    }

    /// Whether the client left, or broke the framing, before the end of the
    /// request's body. Known for bodies that are
    /// [counted](Self::request_body_size), once the service came to that point.
    #[must_use]
    pub fn is_request_broken(&self) -> bool {
        self.request
            .as_ref()
            .is_some_and(|request| request.is_broken())
    }

    /// The size of the response's body, where it is known with the head: a stream has none.
    #[must_use]
    pub const fn response_size(&self) -> Option<u64> {
        self.response_size
    }

    /// The request id, as it stands in the headers.
    #[must_use]
    pub fn request_id(&self) -> Option<&HeaderValue> {
        self.known().request_id.as_ref()
    }

    fn known(&self) -> &RequestFacts {
        self.current
            .as_deref()
            .map_or(&NONE, |current| &current.facts)
    }

    fn known_mut(&mut self) -> &mut RequestFacts {
        &mut self.current.get_or_insert_default().facts
    }

    /// Sets the request id.
    pub fn set_request_id(&mut self, id: HeaderValue) {
        self.known_mut().request_id = Some(id);
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

    /// Returns the ids of the exchange's span. Until an observer has set them, those of the
    /// exchange around it, if there is one.
    #[must_use]
    pub fn trace_ids(&self) -> Option<TraceIds> {
        self.known().trace_ids
    }

    /// Sets the ids of the exchange's span. Must come before the observers that read them.
    pub fn set_trace_ids(&mut self, ids: TraceIds) {
        self.known_mut().trace_ids = Some(ids);
    }

    /// Returns the `tracestate` that goes on to who is called from this exchange.
    #[must_use]
    pub fn trace_state(&self) -> Option<&HeaderValue> {
        self.known().trace_state()
    }

    /// Sets the `tracestate`, or removes that of the exchange around this one. One that is there
    /// costs an allocation.
    pub fn set_trace_state(&mut self, state: Option<HeaderValue>) {
        let known = self.known_mut();
        if state.is_some() || known.trace_state.is_some() {
            known.trace_state = state.map(Box::new);
        }
    }

    /// The socket address of the peer, if an observer has set it.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.known().peer
    }

    /// Sets the socket address of the peer.
    pub fn set_peer(&mut self, peer: SocketAddr) {
        self.known_mut().peer = Some(peer);
    }

    /// The id of the connection.
    #[must_use]
    pub fn connection(&self) -> Option<u64> {
        self.known().connection
    }

    /// Sets the id of the connection.
    pub fn set_connection(&mut self, id: u64) {
        self.known_mut().connection = Some(id);
    }
}

/// Fills in the facts that an exchange begins with: those of the exchange around it, if there is
/// one. The peer, the connection and the scheme of an outgoing request are its own.
///
/// Returns whether there is one around it.
fn begin<B>(facts: &mut RequestFacts, side: Side, request: &Request<B>) -> bool {
    let nested = facts.begin_as_current();
    if !nested || side == Side::Client {
        facts.peer = None;
        facts.connection = None;
        facts.secure = says_https(side, request);
        facts.are_some = true;
    }
    nested
}

fn says_https<B>(side: Side, request: &Request<B>) -> bool {
    (side == Side::Client || request.version() >= Version::HTTP_2)
        && request.uri().scheme() == Some(&Scheme::HTTPS)
}
