use std::any::Any;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::time::Instant;

use crate::cause;
use crate::ending::{Ending, Outcome};
use crate::facts::{Facts, KnownMethod, RequestBytes, Rpc, Side};
use crate::grpc::{self, GrpcCode, GrpcMethods, GrpcProtocol};
use crate::observe::Observe;
use crate::pool::{Pool, Slot};
use crate::route::{Route, RouteScope};

/// What all exchanges of one layer share.
pub(crate) struct Watch<O: Observe> {
    pub(crate) observer: O,
    pub(crate) side: Side,
    pub(crate) methods: GrpcMethods,
    states: Pool<State<O>>,
}

/// One exchange, from its request's head to its end.
///
/// It travels from the call into the future and on into the body. Whatever drops
/// it ends it: that is what makes `on_end` come exactly once.
pub(crate) struct Life<O: Observe> {
    watch: Arc<Watch<O>>,
    /// `Some`, of `Some`, until the drop.
    state: Option<Slot<State<O>>>,
}

struct State<O: Observe> {
    exchange: O::Exchange,
    facts: Facts,
    status: Option<StatusCode>,
    grpc: Option<GrpcCode>,
    head_at: Option<Instant>,
    bytes_sent: u64,
    /// The size that the response announced: with that many bytes taken, a
    /// transport has no reason to poll the body again.
    announced: Option<u64>,
    /// Set while the service's code runs. If it is still set when this is
    /// dropped, that code unwound. `std::thread::panicking` would not do: it is
    /// also true for an exchange that is dropped by somebody else's panic.
    stepping: bool,
    ended: bool,
}

impl<O: Observe> Life<O> {
    pub(crate) fn begin<B: 'static>(watch: &Arc<Watch<O>>, request: &mut Request<B>) -> Self {
        let mut facts = Facts::new(watch.side, request);
        facts.request_bytes = RequestBytes::of(request);
        if GrpcProtocol::of(request) == Some(GrpcProtocol::Grpc) {
            facts.rpc = watch.claim(request.uri().path());
        }
        let exchange = watch.observer.on_request(request, &mut facts);
        let mut state = watch.states.take();
        *state = Some(State {
            exchange,
            facts,
            status: None,
            grpc: None,
            head_at: None,
            bytes_sent: 0,
            announced: None,
            stepping: false,
            ended: false,
        });
        Self {
            watch: Arc::clone(watch),
            state: Some(state),
        }
    }

    /// Runs the service's code: its call, or a poll.
    #[inline]
    pub(crate) fn step<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let (watch, state) = self.parts();
        state.stepping = true;
        let result = state.in_scope(watch, step);
        state.stepping = false;
        result
    }

    /// As [`step`](Self::step), for a drop: a panic in there does not make a
    /// cancelled exchange a panicked one.
    pub(crate) fn in_scope<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let (watch, state) = self.parts();
        state.in_scope(watch, step)
    }

    /// Takes the response's head. The exchange may be over with it.
    pub(crate) fn head<B: Body>(&mut self, response: &mut Response<B>) {
        let (watch, state) = self.parts();
        state.head(watch, response);
    }

    /// Takes a data frame of the response's body.
    pub(crate) fn data(&mut self, bytes: usize) {
        let (watch, state) = self.parts();
        state.bytes_sent += bytes as u64;
        watch.observer.on_data(&mut state.exchange, bytes);
    }

    /// Takes the response's trailers, which are its last frame.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        let (_, state) = self.parts();
        if state.facts.is_grpc()
            && let Some(code) = GrpcCode::from_headers(trailers)
        {
            state.grpc = Some(code);
        }
        self.complete();
    }

    /// The service returned an error instead of a response.
    pub(crate) fn fail<E: 'static>(&mut self, error: &E) {
        let error = cause::as_error(error as &dyn Any);
        let outcome = if error.is_some_and(cause::is_timeout) {
            Outcome::TimedOut
        } else {
            Outcome::Failed
        };
        let (watch, state) = self.parts();
        state.end(watch, Instant::now(), outcome, error);
    }

    /// The response's body yielded an error.
    pub(crate) fn fail_body<E: 'static>(&mut self, error: &E) {
        let error = cause::as_error(error as &dyn Any);
        let (watch, state) = self.parts();
        state.end(watch, Instant::now(), Outcome::BodyFailed, error);
    }

    /// The response's body is through.
    pub(crate) fn complete(&mut self) {
        let (watch, state) = self.parts();
        state.end(watch, Instant::now(), Outcome::Completed, None);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state
            .as_deref()
            .and_then(Option::as_ref)
            .is_none_or(|state| state.ended)
    }

    #[inline]
    fn parts(&mut self) -> (&Watch<O>, &mut State<O>) {
        let state = self.state.as_deref_mut().and_then(Option::as_mut);
        (&self.watch, state.expect("only the drop takes the state"))
    }
}

impl<O: Observe> Drop for Life<O> {
    fn drop(&mut self) {
        let Some(mut slot) = self.state.take() else {
            return;
        };
        if let Some(state) = &mut *slot
            && !state.ended
        {
            let outcome = state.outcome_of_drop();
            state.end(&self.watch, Instant::now(), outcome, None);
        }
        *slot = None;
        self.watch.states.put(slot);
    }
}

impl<O: Observe> State<O> {
    #[inline]
    fn in_scope<R>(&mut self, watch: &Watch<O>, step: impl FnOnce() -> R) -> R {
        // With the head out, the routing is done.
        let _scope = self
            .head_at
            .is_none()
            .then(|| RouteScope::enter(&mut self.facts.route, watch.side == Side::Server));
        watch.observer.in_scope(&mut self.exchange, step)
    }

    fn head<B: Body>(&mut self, watch: &Watch<O>, response: &mut Response<B>) {
        let now = Instant::now();
        let status = response.status();
        self.status = Some(status);
        self.head_at = Some(now);
        if self.facts.is_grpc() {
            self.grpc_head(watch, response.headers());
        }
        watch
            .observer
            .on_response(&mut self.exchange, response, &mut self.facts);

        let connect = self.facts.method == KnownMethod::Connect;
        if status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success()) {
            self.end(watch, now, Outcome::Upgraded, None);
        } else if self.facts.method == KnownMethod::Head
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || response.body().is_end_stream()
        {
            // Transports drop these bodies unpolled.
            self.end(watch, now, Outcome::Completed, None);
        } else if !self.facts.is_grpc() || self.grpc.is_some() {
            // The trailers of a gRPC response come after all announced bytes, and
            // it is not complete without them.
            self.announced = response
                .body()
                .size_hint()
                .exact()
                .or_else(|| content_length(response.headers()));
        }
    }

    fn grpc_head(&mut self, watch: &Watch<O>, headers: &HeaderMap) {
        if GrpcProtocol::of_headers(headers) != Some(GrpcProtocol::Grpc) {
            if matches!(self.facts.rpc, Rpc::Known(_)) {
                // A layer around the method answered in plain HTTP: a timeout, a
                // panic catcher. The call is one all the same.
                self.grpc = self.status.map(GrpcCode::from_http);
            } else {
                // The request only said that it was gRPC.
                self.facts.rpc = Rpc::No;
            }
            return;
        }
        self.grpc = GrpcCode::from_headers(headers);
        if let Rpc::Claimed(method) = &mut self.facts.rpc {
            let known = method
                .take()
                .filter(|_| self.grpc.is_none_or(GrpcCode::is_of_a_method))
                .and_then(|method| watch.methods.learn(method));
            self.facts.rpc = known.map_or(Rpc::Other, |method| Rpc::Known(Route::from(method)));
        }
    }

    fn end(
        &mut self,
        watch: &Watch<O>,
        now: Instant,
        outcome: Outcome,
        error: Option<&(dyn std::error::Error + 'static)>,
    ) {
        if self.ended {
            return;
        }
        self.ended = true;
        let grpc = match self.grpc {
            None if self.facts.is_grpc() && outcome == Outcome::Completed => {
                Some(GrpcCode::Unknown)
            }
            grpc => grpc,
        };
        let ending = Ending {
            outcome,
            status: self.status,
            grpc,
            time_to_head: self.head_at.map(|at| at - self.facts.started),
            duration: now - self.facts.started,
            bytes_sent: self.bytes_sent,
            error,
        };
        watch
            .observer
            .on_end(&mut self.exchange, &ending, &self.facts);
    }

    fn outcome_of_drop(&self) -> Outcome {
        if self.stepping {
            Outcome::Panicked
        } else if self.head_at.is_none() {
            Outcome::CancelledBeforeHead
        } else if self.announced.is_some_and(|bytes| self.bytes_sent >= bytes) {
            Outcome::Completed
        } else {
            Outcome::CancelledDuringBody
        }
    }
}

impl<O: Observe> Watch<O> {
    pub(crate) fn new(observer: O, side: Side) -> Self {
        Self {
            observer,
            side,
            methods: GrpcMethods::new(),
            states: Pool::new(),
        }
    }

    fn claim(&self, path: &str) -> Rpc {
        match grpc::method_of(path) {
            None => Rpc::Other,
            Some(method) => self.methods.get(method).map_or_else(
                || Rpc::Claimed(Some(Arc::from(method))),
                |method| Rpc::Known(Route::from(method)),
            ),
        }
    }
}

impl RequestBytes {
    #[cfg(feature = "axum")]
    fn of<B: 'static>(request: &mut Request<B>) -> Self {
        let Some(body) = (request.body_mut() as &mut dyn Any).downcast_mut::<axum::body::Body>()
        else {
            return Self::announced(request);
        };
        match body.size_hint().exact() {
            Some(0) => Self::Unknown,
            Some(bytes) => Self::Exact(bytes),
            None => crate::body::count(body),
        }
    }

    #[cfg(not(feature = "axum"))]
    fn of<B: 'static>(request: &mut Request<B>) -> Self {
        Self::announced(request)
    }

    fn announced<B>(request: &Request<B>) -> Self {
        // A client may send its Content-Length with a method that has no body.
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Self::Unknown;
        }
        match content_length(request.headers()) {
            None | Some(0) => Self::Unknown,
            Some(bytes) => Self::Exact(bytes),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
