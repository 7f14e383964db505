use std::error::Error;
use std::sync::atomic::Ordering;
use std::task::Context;

use bytes::Buf;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body::Body;
use tokio::time::Instant;

use super::Watch;
use crate::catch_panic::CaughtPanic;
use crate::cause;
use crate::current::CurrentScope;
use crate::ending::{Ending, Outcome};
use crate::facts::{Facts, Rpc, Side};
use crate::grpc::{Deadline, GrpcCode, GrpcProtocol, WebStatus};
use crate::known_method::KnownMethod;
use crate::length::{Misfit, ResponseLength};
use crate::observe::{Observe, contained};
use crate::request;
use crate::route::Routing;

/// All that is known of one exchange.
///
/// In a box that is used again, and filled in place: each move costs as much as
/// what an observer does.
pub(super) struct State<O: Observe> {
    /// `None` while the box is not in use.
    exchange: Option<O::Exchange>,
    facts: Facts,
    routing: Routing,
    asks_for_upgrade: bool,
    reply: Reply,
    /// Where the status of a gRPC-Web call is to be found.
    web: Option<Box<WebStatus>>,
    /// Of a gRPC call, until it has a status.
    deadline: Option<Deadline>,
}

/// How far the response is.
#[derive(Default)]
struct Reply {
    status: Option<StatusCode>,
    grpc: Option<GrpcCode>,
    /// Something in front of the service answered a gRPC call in plain HTTP.
    plain: bool,
    head_at: Option<Instant>,
    bytes_sent: u64,
    length: ResponseLength,
    /// Set while code of the service or of an observer runs. If it is still set
    /// when this is dropped, that code unwound. `std::thread::panicking` would not
    /// do: it is also true for an exchange that another one's panic drops.
    stepping: bool,
    caught_panic: bool,
    ended: bool,
}

impl<O: Observe> State<O> {
    #[cold]
    pub(super) fn unused() -> Box<Self> {
        Box::new(Self {
            exchange: None,
            facts: Facts::unused(),
            routing: Routing::SETTLED,
            asks_for_upgrade: false,
            reply: Reply::default(),
            web: None,
            deadline: None,
        })
    }

    /// Begins an exchange in an unused box.
    #[inline]
    pub(super) fn begin<B: 'static>(&mut self, watch: &Watch<O>, request: &mut Request<B>) {
        self.facts.begin(watch.side, request);
        self.facts.request = request::watch(request);
        self.routing = Routing::begin(watch.side, self.facts.route.is_some(), request);
        self.asks_for_upgrade = self.facts.version == Version::HTTP_11
            && request.headers().contains_key(header::UPGRADE);
        if let Some(protocol) = GrpcProtocol::of(request) {
            self.facts.rpc = watch.claim(request.uri().path());
            if watch.ends_calls.load(Ordering::Relaxed) {
                self.deadline = Deadline::of(request.headers(), protocol);
            }
        }
        self.reply = Reply::default();
        self.exchange = Some(watch.observer.on_request(request, &mut self.facts));
    }

    /// Drops what must not live longer than the exchange.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.exchange = None;
        self.web = None;
        self.deadline = None;
        self.facts.clear();
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.deadline.is_some()
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.reply.ended
    }

    // Inlined, both: see `Observe::in_scope`.
    #[inline(always)]
    pub(super) fn step<R>(&mut self, watch: &Watch<O>, step: impl FnOnce() -> R) -> R {
        self.reply.stepping = true;
        let result = self.in_scope(watch, step);
        self.reply.stepping = false;
        result
    }

    #[inline(always)]
    pub(super) fn in_scope<R>(&mut self, watch: &Watch<O>, step: impl FnOnce() -> R) -> R {
        // The route of a response that has begun does not change any more.
        let routing = if self.reply.head_at.is_none() {
            self.routing
        } else {
            Routing::SETTLED
        };
        let Facts { current, route, .. } = &mut self.facts;
        let _scope = CurrentScope::enter(current, route, routing);
        watch.observer.in_scope(in_use(&mut self.exchange), step)
    }

    #[inline]
    pub(super) fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Deadline> {
        let is_over = self.deadline.as_mut()?.is_over(cx);
        is_over.then(|| self.deadline.take()).flatten()
    }

    pub(super) fn data<D: Buf>(&mut self, watch: &Watch<O>, data: &D) {
        let reply = &mut self.reply;
        if let Some(web) = &mut self.web {
            web.read(data);
            reply.grpc = web.code().or(reply.grpc);
            if web.has_begun() {
                // A deadline would add a second status.
                self.deadline = None;
            }
        }
        let bytes = reply.length.cut(reply.bytes_sent, data.remaining());
        reply.bytes_sent += bytes as u64;
        reply.stepping = true;
        watch.observer.on_data(in_use(&mut self.exchange), bytes);
        reply.stepping = false;
    }

    /// The last frame.
    pub(super) fn trailers(&mut self, watch: &Watch<O>, trailers: &HeaderMap) {
        self.deadline = None;
        if self.facts.is_grpc()
            && let Some(code) = GrpcCode::from_headers(trailers)
        {
            self.reply.grpc = Some(code);
        }
        self.complete(watch, Instant::now());
    }

    pub(super) fn fail(&mut self, watch: &Watch<O>, error: Option<&(dyn Error + 'static)>) {
        // The causes are the user's code.
        self.reply.stepping = true;
        let outcome = if error.is_some_and(cause::is_timeout) {
            Outcome::TimedOut
        } else {
            Outcome::Failed
        };
        self.reply.stepping = false;
        self.end(watch, Instant::now(), outcome, error);
    }

    pub(super) fn head<B: Body>(&mut self, watch: &Watch<O>, response: &mut Response<B>) {
        self.reply.stepping = true;
        self.take_head(watch, response);
        self.reply.stepping = false;
    }

    fn take_head<B: Body>(&mut self, watch: &Watch<O>, response: &mut Response<B>) {
        let now = Instant::now();
        let status = response.status();
        let upgrades = self.upgrades(watch, status);
        if watch.side == Side::Server && status.is_informational() && !upgrades {
            self.informational(watch, now, response);
            return;
        }
        self.reply.status = Some(status);
        self.reply.head_at = Some(now);
        self.reply.caught_panic = CaughtPanic::is_in(response);
        if self.facts.is_grpc() {
            self.grpc_head(watch, response.headers());
        }
        // A call with a deadline may be cut short, and then there is more than was announced.
        if self.deadline.is_none() {
            self.facts.response_size = response.body().size_hint().exact();
        }
        watch
            .observer
            .on_response(in_use(&mut self.exchange), response, &mut self.facts);

        if upgrades {
            self.end(watch, now, Outcome::Upgraded, None);
            return;
        }
        self.reply.length = ResponseLength::of(&self.facts, response);
        if self.reply.length.has_no_body() {
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
        self.reply.head_at = Some(now);
        self.reply.status = Some(if switching {
            StatusCode::SWITCHING_PROTOCOLS
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        });
        watch
            .observer
            .on_response(in_use(&mut self.exchange), response, &mut self.facts);
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
        self.reply.grpc = GrpcCode::from_headers(headers);
        if self.reply.grpc.is_none() {
            self.web = WebStatus::of(protocol).map(Box::new);
        } else {
            self.deadline = None;
        }
        if let Rpc::Claimed(method) = &mut self.facts.rpc {
            let known = method
                .take()
                .filter(|_| self.reply.grpc.is_none_or(GrpcCode::is_of_a_method))
                .and_then(|method| watch.methods.learn(&method));
            self.facts.rpc = known.map_or(Rpc::Other, Rpc::Known);
        }
    }

    /// A layer around the method answered in plain HTTP: a timeout, a panic
    /// catcher. The exchange is a call all the same, whether its method is known or
    /// not. But a request can claim to be gRPC and not be: then the answer is a
    /// success, or blames the client.
    fn plain_head(&mut self) {
        let Some(status) = self.reply.status else {
            return;
        };
        match self.facts.rpc {
            Rpc::Known(_) => {}
            Rpc::Claimed(_) if status.as_u16() >= 500 => self.facts.rpc = Rpc::Other,
            _ => {
                self.facts.rpc = Rpc::No;
                return;
            }
        }
        self.reply.grpc = Some(GrpcCode::from_http(status));
        self.reply.plain = true;
    }

    /// The response is through, as the service sees it.
    pub(super) fn complete(&mut self, watch: &Watch<O>, now: Instant) {
        match self.reply.length.fault_at_end(self.reply.bytes_sent) {
            Some(misfit) => {
                let error = misfit.as_error();
                self.end(watch, now, Outcome::BodyFailed, Some(error));
            }
            None => self.end(watch, now, Outcome::Completed, None),
        }
    }

    pub(super) fn end(
        &mut self,
        watch: &Watch<O>,
        now: Instant,
        outcome: Outcome,
        error: Option<&(dyn Error + 'static)>,
    ) {
        if self.reply.ended {
            return;
        }
        self.reply.ended = true;
        let outcome = self.seen_from_outside(outcome);
        let grpc = match self.reply.grpc {
            None if self.facts.is_grpc() && outcome == Outcome::Completed => {
                Some(GrpcCode::Unknown)
            }
            grpc => grpc,
        };
        let ending = Ending {
            outcome,
            status: self.reply.status,
            grpc,
            plain: self.reply.plain,
            time_to_head: self.reply.head_at.map(|at| at - self.facts.started),
            duration: now - self.facts.started,
            bytes_sent: self.reply.bytes_sent,
            error,
        };
        // This may run while a panic unwinds, where a second one that gets out of a
        // drop aborts the process.
        contained(|| {
            watch
                .observer
                .on_end(in_use(&mut self.exchange), &ending, &self.facts);
        });
    }

    /// The outcome, where the service's own view of it is too good or too bad.
    fn seen_from_outside(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Panicked | Outcome::Upgraded | Outcome::TimedOut => outcome,
            _ if self.reply.caught_panic => Outcome::Panicked,
            // Whatever the service made of it: the client left.
            _ if self.facts.is_request_broken() && self.reply.head_at.is_none() => {
                Outcome::CancelledBeforeHead
            }
            _ if self.facts.is_request_broken() => Outcome::CancelledDuringBody,
            _ => outcome,
        }
    }

    /// What drops the exchange ends it, if nothing has ended it before.
    #[inline]
    pub(super) fn end_by_drop(&mut self, watch: &Watch<O>) {
        if !self.reply.ended {
            self.cut(watch);
        }
    }

    fn cut(&mut self, watch: &Watch<O>) {
        let now = Instant::now();
        if self.reply.stepping {
            self.end(watch, now, Outcome::Panicked, None);
        } else if self.reply.head_at.is_none() {
            self.end(watch, now, Outcome::CancelledBeforeHead, None);
        } else if let Some(misfit) = self.reply.length.fault(self.reply.bytes_sent) {
            let error = misfit.as_error();
            self.end(watch, now, Outcome::BodyFailed, Some(error));
        } else if self.reply.length.is_reached(self.reply.bytes_sent) && self.has_status() {
            self.end(watch, now, Outcome::Completed, None);
        } else {
            self.end(watch, now, Outcome::CancelledDuringBody, None);
        }
    }

    /// The trailers of a gRPC response come after all announced bytes, and it is
    /// not complete without them.
    const fn has_status(&self) -> bool {
        !self.facts.is_grpc() || self.reply.grpc.is_some()
    }
}

/// The observer's part of an exchange that has begun.
#[inline]
fn in_use<T>(exchange: &mut Option<T>) -> &mut T {
    exchange
        .as_mut()
        .expect("it is set until the box is given back")
}
