use std::any::Any;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use bytes::Buf;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame};
use tokio::time::Instant;

use crate::catch_panic::CaughtPanic;
use crate::cause;
use crate::current::{CurrentScope, CurrentSlot};
use crate::ending::{Ending, Outcome};
use crate::facts::{Facts, KnownMethod, Rpc, Side};
use crate::grpc::{self, Deadline, GrpcCode, GrpcMethods, GrpcProtocol, WebStatus};
use crate::length::{Misfit, ResponseLength};
use crate::observe::{Observe, contained};
use crate::pool::Pool;
use crate::request;
use crate::route::{Route, Routing};

/// What all exchanges of one layer share.
pub(crate) struct Watch<O: Observe> {
    pub(crate) observer: O,
    pub(crate) side: Side,
    pub(crate) methods: Arc<GrpcMethods>,
    /// Whether calls are ended at the deadlines of their callers.
    pub(crate) ends_calls: AtomicBool,
    states: Pool<Room<O>>,
}

/// Where the state of an exchange lies, and what is kept for the next one's.
struct Room<O: Observe> {
    /// `Some` until the drop.
    state: Option<State<O>>,
    spare: CurrentSlot,
}

/// One exchange, from its request's head to its end.
///
/// It travels from the call into the future and on into the body. Whatever drops
/// it ends it: that is what makes `on_end` come exactly once.
pub(crate) struct Life<O: Observe> {
    watch: Arc<Watch<O>>,
    /// `Some` until the drop.
    room: Option<Box<Room<O>>>,
}

struct State<O: Observe> {
    exchange: O::Exchange,
    facts: Facts,
    routing: Routing,
    asks_for_upgrade: bool,
    status: Option<StatusCode>,
    grpc: Option<GrpcCode>,
    /// Something in front of the service answered a gRPC call in plain HTTP.
    plain: bool,
    /// Where the status of a gRPC-Web call is to be found.
    web: Option<Box<WebStatus>>,
    head_at: Option<Instant>,
    bytes_sent: u64,
    length: ResponseLength,
    /// Of a gRPC call, until it has a status.
    deadline: Option<Deadline>,
    /// Set while code of the service or of an observer runs. If it is still set
    /// when this is dropped, that code unwound. `std::thread::panicking` would not
    /// do: it is also true for an exchange that is dropped by somebody else's panic.
    stepping: bool,
    caught_panic: bool,
    ended: bool,
}

impl<O: Observe> Life<O> {
    pub(crate) fn begin<B: 'static>(watch: &Arc<Watch<O>>, request: &mut Request<B>) -> Self {
        let mut room = watch.states.take().unwrap_or_else(|| {
            Box::new(Room {
                state: None,
                spare: None,
            })
        });
        let mut facts = Facts::new(watch.side, request, room.spare.take());
        facts.request = request::watch(request);
        let routing = Routing::begin(watch.side, facts.route.is_some(), request);
        let asks_for_upgrade =
            facts.version == Version::HTTP_11 && request.headers().contains_key(header::UPGRADE);
        let mut deadline = None;
        if let Some(protocol) = GrpcProtocol::of(request) {
            facts.rpc = watch.claim(request.uri().path());
            if watch.ends_calls.load(Ordering::Relaxed) {
                deadline = Deadline::of(request.headers(), protocol);
            }
        }
        let exchange = watch.observer.on_request(request, &mut facts);
        room.state = Some(State {
            exchange,
            facts,
            routing,
            asks_for_upgrade,
            status: None,
            grpc: None,
            plain: false,
            web: None,
            head_at: None,
            bytes_sent: 0,
            length: ResponseLength::default(),
            deadline,
            stepping: false,
            caught_panic: false,
            ended: false,
        });
        Self {
            watch: Arc::clone(watch),
            room: Some(room),
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

    /// The deadline of a gRPC call, if that is over; else its timer wakes the task.
    #[inline]
    pub(crate) fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Deadline> {
        let (_, state) = self.parts();
        let is_over = state.deadline.as_mut()?.is_over(cx);
        is_over.then(|| state.deadline.take()).flatten()
    }

    /// Takes a frame of the response's body.
    #[inline]
    pub(crate) fn frame<D: Buf>(&mut self, frame: &Frame<D>) {
        if let Some(data) = frame.data_ref() {
            self.data(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers(trailers);
        }
    }

    /// Whether the response may be cut short.
    pub(crate) fn has_deadline(&self) -> bool {
        let state = self.room.as_deref().and_then(|room| room.state.as_ref());
        state.is_some_and(|state| state.deadline.is_some())
    }

    /// Takes the response's head. The exchange may be over with it.
    pub(crate) fn head<B: Body>(&mut self, response: &mut Response<B>) {
        let (watch, state) = self.parts();
        state.stepping = true;
        state.head(watch, response);
        state.stepping = false;
    }

    fn data<D: Buf>(&mut self, data: &D) {
        let (watch, state) = self.parts();
        if let Some(web) = &mut state.web {
            web.read(data);
            state.grpc = web.code().or(state.grpc);
            if web.has_begun() {
                // A deadline would add a second status.
                state.deadline = None;
            }
        }
        let bytes = state.length.cut(state.bytes_sent, data.remaining());
        state.bytes_sent += bytes as u64;
        state.stepping = true;
        watch.observer.on_data(&mut state.exchange, bytes);
        state.stepping = false;
    }

    /// The last frame.
    fn trailers(&mut self, trailers: &HeaderMap) {
        let (_, state) = self.parts();
        state.deadline = None;
        if state.facts.is_grpc()
            && let Some(code) = GrpcCode::from_headers(trailers)
        {
            state.grpc = Some(code);
        }
        self.complete();
    }

    /// The service returned an error instead of a response.
    pub(crate) fn fail<E: 'static>(&mut self, error: &E) {
        let (watch, state) = self.parts();
        let error = cause::as_error(error as &dyn Any);
        // The causes are the user's code as well.
        state.stepping = true;
        let outcome = if error.is_some_and(cause::is_timeout) {
            Outcome::TimedOut
        } else {
            Outcome::Failed
        };
        state.stepping = false;
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
        state.complete(watch, Instant::now());
    }

    pub(crate) fn has_ended(&self) -> bool {
        let state = self.room.as_deref().and_then(|room| room.state.as_ref());
        state.is_none_or(|state| state.ended)
    }

    #[inline]
    fn parts(&mut self) -> (&Watch<O>, &mut State<O>) {
        let state = self
            .room
            .as_deref_mut()
            .and_then(|room| room.state.as_mut());
        (&self.watch, state.expect("only the drop takes the state"))
    }
}

impl<O: Observe> Drop for Life<O> {
    fn drop(&mut self) {
        let Some(mut room) = self.room.take() else {
            return;
        };
        if let Some(state) = &mut room.state {
            if !state.ended {
                state.end_by_drop(&self.watch);
            }
            room.spare = state.facts.current.take();
            if let Some(spare) = &mut room.spare {
                spare.facts.clear_buffers();
            }
        }
        room.state = None;
        self.watch.states.put(room);
    }
}

impl<O: Observe> State<O> {
    #[inline]
    fn in_scope<R>(&mut self, watch: &Watch<O>, step: impl FnOnce() -> R) -> R {
        let (current, route) = (&mut self.facts.current, &mut self.facts.route);
        // The route of a response that has begun does not change any more.
        let routing = if self.head_at.is_none() {
            self.routing
        } else {
            Routing::SETTLED
        };
        let _scope = CurrentScope::enter(current, route, routing);
        watch.observer.in_scope(&mut self.exchange, step)
    }

    fn head<B: Body>(&mut self, watch: &Watch<O>, response: &mut Response<B>) {
        let now = Instant::now();
        let status = response.status();
        let upgrades = self.upgrades(watch, status);
        if watch.side == Side::Server && status.is_informational() && !upgrades {
            self.informational(watch, now, response);
            return;
        }
        self.status = Some(status);
        self.head_at = Some(now);
        self.caught_panic = CaughtPanic::is_in(response);
        if self.facts.is_grpc() {
            self.grpc_head(watch, response.headers());
        }
        // A call with a deadline may be cut short, and then there is more than was announced.
        if self.deadline.is_none() {
            self.facts.response_size = response.body().size_hint().exact();
        }
        watch
            .observer
            .on_response(&mut self.exchange, response, &mut self.facts);

        if upgrades {
            self.end(watch, now, Outcome::Upgraded, None);
            return;
        }
        self.length = ResponseLength::of(&self.facts, response);
        if self.length.has_no_body() {
            self.complete(watch, now);
        }
    }

    fn upgrades(&self, watch: &Watch<O>, status: StatusCode) -> bool {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.asks_for_upgrade || watch.side == Side::Client
        } else {
            self.facts.method == KnownMethod::Connect && status.is_success()
        }
    }

    /// A 1xx status as the final one, which no client can take for an answer. On
    /// HTTP/1, hyper sends a 500 in its place, but for 101, which it sends before it
    /// closes the connection. On HTTP/2 it sends what the client resets.
    fn informational<B>(&mut self, watch: &Watch<O>, now: Instant, response: &mut Response<B>) {
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if self.facts.version >= Version::HTTP_2 {
            let error = Misfit::Informational.as_error();
            self.end(watch, now, Outcome::Failed, Some(error));
            return;
        }
        self.head_at = Some(now);
        self.status = Some(if switching {
            StatusCode::SWITCHING_PROTOCOLS
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        });
        watch
            .observer
            .on_response(&mut self.exchange, response, &mut self.facts);
        let misfit = if switching {
            Misfit::NoUpgrade
        } else {
            Misfit::Informational
        };
        self.end(watch, now, Outcome::Failed, Some(misfit.as_error()));
    }

    fn grpc_head(&mut self, watch: &Watch<O>, headers: &HeaderMap) {
        let Some(protocol) = GrpcProtocol::of_headers(headers) else {
            self.plain_head();
            return;
        };
        self.grpc = GrpcCode::from_headers(headers);
        if self.grpc.is_none() {
            self.web = WebStatus::of(protocol).map(Box::new);
        } else {
            self.deadline = None;
        }
        if let Rpc::Claimed(method) = &mut self.facts.rpc {
            let known = method
                .take()
                .filter(|_| self.grpc.is_none_or(GrpcCode::is_of_a_method))
                .and_then(|method| watch.methods.learn(method));
            self.facts.rpc = known.map_or(Rpc::Other, |method| Rpc::Known(Route::from(method)));
        }
    }

    /// A layer around the method answered in plain HTTP: a timeout, a panic
    /// catcher. The call is one all the same, seen before or not. But a request can
    /// call itself gRPC that is none: so thinks who answers it with success, or
    /// blames the client.
    fn plain_head(&mut self) {
        let Some(status) = self.status else { return };
        match self.facts.rpc {
            Rpc::Known(_) => {}
            Rpc::Claimed(_) if status.as_u16() >= 500 => self.facts.rpc = Rpc::Other,
            _ => {
                self.facts.rpc = Rpc::No;
                return;
            }
        }
        self.grpc = Some(GrpcCode::from_http(status));
        self.plain = true;
    }

    /// The response is through, as the service sees it.
    fn complete(&mut self, watch: &Watch<O>, now: Instant) {
        match self.length.fault_at_end(self.bytes_sent) {
            Some(misfit) => {
                let error = misfit.as_error();
                self.end(watch, now, Outcome::BodyFailed, Some(error));
            }
            None => self.end(watch, now, Outcome::Completed, None),
        }
    }

    fn end(
        &mut self,
        watch: &Watch<O>,
        now: Instant,
        outcome: Outcome,
        error: Option<&(dyn Error + 'static)>,
    ) {
        if self.ended {
            return;
        }
        self.ended = true;
        let outcome = self.seen_from_outside(outcome);
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
            plain: self.plain,
            time_to_head: self.head_at.map(|at| at - self.facts.started),
            duration: now - self.facts.started,
            bytes_sent: self.bytes_sent,
            error,
        };
        // This may run while a panic unwinds, where a second one that gets out of a
        // drop aborts the process.
        contained(|| {
            watch
                .observer
                .on_end(&mut self.exchange, &ending, &self.facts);
        });
    }

    /// The outcome, where the service's own view of it is too good or too bad.
    fn seen_from_outside(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Panicked | Outcome::Upgraded | Outcome::TimedOut => outcome,
            _ if self.caught_panic => Outcome::Panicked,
            // Whatever the service made of it: the client left.
            _ if self.facts.is_request_broken() && self.head_at.is_none() => {
                Outcome::CancelledBeforeHead
            }
            _ if self.facts.is_request_broken() => Outcome::CancelledDuringBody,
            _ => outcome,
        }
    }

    fn end_by_drop(&mut self, watch: &Watch<O>) {
        let now = Instant::now();
        if self.stepping {
            self.end(watch, now, Outcome::Panicked, None);
        } else if self.head_at.is_none() {
            self.end(watch, now, Outcome::CancelledBeforeHead, None);
        } else if let Some(misfit) = self.length.fault(self.bytes_sent) {
            let error = misfit.as_error();
            self.end(watch, now, Outcome::BodyFailed, Some(error));
        } else if self.length.is_reached(self.bytes_sent) && self.has_status() {
            self.end(watch, now, Outcome::Completed, None);
        } else {
            self.end(watch, now, Outcome::CancelledDuringBody, None);
        }
    }

    /// The trailers of a gRPC response come after all announced bytes, and it is
    /// not complete without them.
    const fn has_status(&self) -> bool {
        !self.facts.is_grpc() || self.grpc.is_some()
    }
}

impl<O: Observe> Watch<O> {
    pub(crate) fn new(observer: O, side: Side, methods: Arc<GrpcMethods>) -> Self {
        Self {
            observer,
            side,
            methods,
            ends_calls: AtomicBool::new(false),
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
