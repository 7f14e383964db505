use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Context;

use bytes::Buf;
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::time::Instant;

use self::state::State;
use crate::cause;
use crate::ending::Outcome;
use crate::facts::{Rpc, Side};
use crate::grpc::{self, Deadline, GrpcMethods};
use crate::observe::Observe;
use crate::pool::Pool;
use crate::shared::Local;

mod state;

/// What all exchanges of one layer share.
pub(crate) struct Watch<O: Observe> {
    pub(crate) observer: O,
    pub(crate) side: Side,
    pub(crate) methods: Arc<GrpcMethods>,
    /// Whether calls are ended at the deadlines of their callers.
    pub(crate) ends_calls: AtomicBool,
    states: Pool<State<O>>,
}

/// One exchange, from its request's head to its end.
///
/// It travels from the call into the future and on into the body. Whatever drops
/// it ends it: that is what makes `on_end` come exactly once.
pub(crate) struct Life<O: Observe> {
    watch: Arc<Local<Watch<O>>>,
    /// `Some` until the drop.
    state: Option<Box<State<O>>>,
}

impl<O: Observe> Life<O> {
    pub(crate) fn begin<B: 'static>(watch: Arc<Local<Watch<O>>>, request: &mut Request<B>) -> Self {
        let mut state = watch.states.take().unwrap_or_else(State::unused);
        state.begin(&watch, request);
        Self {
            watch,
            state: Some(state),
        }
    }

    /// Runs the service's code: its call, or a poll.
    #[inline(always)]
    pub(crate) fn step<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let (watch, state) = self.parts();
        state.step(watch, step)
    }

    /// As [`step`](Self::step), for a drop: a panic in there does not make a
    /// cancelled exchange a panicked one.
    pub(crate) fn in_scope(&mut self, step: impl FnOnce()) {
        let (watch, state) = self.parts();
        state.in_scope(watch, step);
    }

    /// The deadline of a gRPC call, if that is over; else its timer wakes the task.
    #[inline]
    pub(crate) fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Deadline> {
        let (_, state) = self.parts();
        state.overdue(cx)
    }

    /// Takes a frame of the response's body.
    #[inline]
    pub(crate) fn frame<D: Buf>(&mut self, frame: &Frame<D>) {
        let (watch, state) = self.parts();
        if let Some(data) = frame.data_ref() {
            state.data(watch, data);
        } else if let Some(trailers) = frame.trailers_ref() {
            state.trailers(watch, trailers);
        }
    }

    /// Whether the response may be cut short.
    pub(crate) fn has_deadline(&self) -> bool {
        let state = self.state.as_deref();
        state.is_some_and(State::has_deadline)
    }

    /// Takes the response's head. The exchange may be over with it.
    pub(crate) fn head<B: Body>(&mut self, response: &mut Response<B>) {
        let (watch, state) = self.parts();
        state.head(watch, response);
    }

    /// The service returned an error instead of a response.
    pub(crate) fn fail<E: 'static>(&mut self, error: &E) {
        let (watch, state) = self.parts();
        state.fail(watch, cause::as_error(error as &dyn Any));
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
        self.state.as_deref().is_none_or(State::has_ended)
    }

    #[inline]
    fn parts(&mut self) -> (&Watch<O>, &mut State<O>) {
        let state = self.state.as_deref_mut();
        (&self.watch, state.expect("only the drop takes the state"))
    }
}

impl<O: Observe> Drop for Life<O> {
    fn drop(&mut self) {
        if let Some(mut state) = self.state.take() {
            state.end_by_drop(&self.watch);
            state.clear();
            self.watch.states.put(state);
        }
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
            Some(method) => self
                .methods
                .get(method)
                .map_or_else(|| Rpc::Claimed(Some(Arc::from(method))), Rpc::Known),
        }
    }
}
