//! Whatever becomes of an exchange, every observer hears of it once, and hears the same.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use tower::{Layer, Service, service_fn};
use tower_ops_observe::{GrpcCode, ObserveLayer, Outcome, Phase};

#[path = "support/record.rs"]
mod record;
use record::{Recorder, poll, poll_frame};

/// All that is random about one exchange.
#[derive(Clone, Debug)]
struct Plan {
    method: Method,
    grpc_request: bool,
    call_panics: bool,
    pending: usize,
    head: Head,
    status: StatusCode,
    grpc_head: Option<GrpcHead>,
    frames: Vec<Step>,
    last: Last,
    length: Length,
    /// The body's flag turns true with its last step.
    flag: bool,
    /// How many polls the exchange gets, of its future and its body together.
    polls: usize,
    cut: Cut,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Head {
    Answer,
    Error,
    Timeout,
    Panic,
}

/// A gRPC response, with its status in the head or without.
#[derive(Clone, Copy, Debug)]
struct GrpcHead(Option<GrpcCode>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Data(usize),
    Pending,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Last {
    Nothing,
    Trailers(Option<GrpcCode>),
    Error,
    Panic,
}

/// How the body's length is announced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Length {
    No,
    AtLeast,
    Exact,
    Header,
    /// A `Content-Length` of one byte more than there is.
    TooMuch,
    /// A `Content-Length` of one byte less, if there is any.
    TooLittle,
}

/// How the exchange is dropped once it has had its polls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Drop,
    /// By the panic of somebody else.
    Unwind,
}

fn code() -> impl Strategy<Value = Option<GrpcCode>> {
    prop::option::of(select(GrpcCode::ALL.as_slice()))
}

fn plan() -> impl Strategy<Value = Plan> {
    // Each ordinary value stands several times, so that most exchanges get to their body.
    let method = select(vec![
        Method::GET,
        Method::POST,
        Method::POST,
        Method::POST,
        Method::PUT,
        Method::HEAD,
        Method::CONNECT,
    ]);
    let head = prop_oneof![
        8 => Just(Head::Answer),
        1 => Just(Head::Error),
        1 => Just(Head::Timeout),
        1 => Just(Head::Panic),
    ];
    let status = select(vec![200u16, 200, 200, 404, 500, 101, 204, 304])
        .prop_map(|status| StatusCode::from_u16(status).unwrap());
    let step = prop_oneof![
        3 => (0usize..9).prop_map(Step::Data),
        1 => Just(Step::Pending),
    ];
    let last = prop_oneof![
        3 => Just(Last::Nothing),
        2 => code().prop_map(Last::Trailers),
        1 => Just(Last::Error),
        1 => Just(Last::Panic),
    ];
    let length = select(vec![
        Length::No,
        Length::AtLeast,
        Length::Exact,
        Length::Header,
        Length::TooMuch,
        Length::TooLittle,
    ]);
    let request = (method, any::<bool>(), prop::bool::weighted(0.05));
    let answer = (
        0usize..4,
        head,
        status,
        prop::option::of(code().prop_map(GrpcHead)),
    );
    let body = (
        prop::collection::vec(step, 0..6),
        last,
        length,
        any::<bool>(),
    );
    let cut = select(vec![Cut::Drop, Cut::Unwind]);
    (request, answer, body, 0usize..14, cut).prop_map(|(request, answer, body, polls, cut)| Plan {
        method: request.0,
        grpc_request: request.1,
        call_panics: request.2,
        pending: answer.0,
        head: answer.1,
        status: answer.2,
        grpc_head: answer.3,
        frames: body.0,
        last: body.1,
        length: body.2,
        flag: body.3,
        polls,
        cut,
    })
}

impl Plan {
    fn size(&self) -> u64 {
        let sizes = self.frames.iter().map(|step| match step {
            Step::Data(bytes) => *bytes as u64,
            Step::Pending => 0,
        });
        sizes.sum()
    }

    /// What the head announces.
    fn announced(&self) -> Option<u64> {
        match self.length {
            Length::No | Length::AtLeast => None,
            Length::Exact | Length::Header => Some(self.size()),
            Length::TooMuch => Some(self.size() + 1),
            Length::TooLittle => Some(self.size().saturating_sub(1)),
        }
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::builder().method(&self.method).uri("/a.B/C");
        if self.status == StatusCode::SWITCHING_PROTOCOLS {
            request = request.header(header::UPGRADE, "planned");
        }
        if self.grpc_request {
            request = request.header(header::CONTENT_TYPE, "application/grpc");
        }
        request.body(()).unwrap()
    }

    fn response(&self) -> Response<PlannedBody> {
        let mut response = Response::builder().status(self.status);
        if let Some(GrpcHead(code)) = self.grpc_head {
            response = response.header(header::CONTENT_TYPE, "application/grpc");
            if let Some(code) = code {
                response = response.header("grpc-status", code as u16);
            }
        }
        if let Some(announced) = self.announced().filter(|_| self.length != Length::Exact) {
            response = response.header(header::CONTENT_LENGTH, announced);
        }
        let body = PlannedBody {
            plan: self.clone(),
            taken: 0,
        };
        response.body(body).unwrap()
    }
}

/// Unwinds without the hook that would print thousands of panics.
fn unwind() -> ! {
    resume_unwind(Box::new("planned panic"))
}

struct PlannedBody {
    plan: Plan,
    taken: usize,
}

impl Body for PlannedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let taken = self.taken;
        self.taken += 1;
        match self.plan.frames.get(taken) {
            Some(Step::Data(bytes)) => {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; *bytes])))))
            }
            Some(Step::Pending) => Poll::Pending,
            None if taken > self.plan.frames.len() => Poll::Ready(None),
            None => match self.plan.last {
                Last::Nothing => Poll::Ready(None),
                Last::Trailers(code) => {
                    let status = code.map(|code| ("grpc-status", code as u16));
                    let trailers = status.into_iter().map(|(name, code)| {
                        (name.parse().unwrap(), header::HeaderValue::from(code))
                    });
                    let trailers: HeaderMap = trailers.collect();
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
                Last::Error => Poll::Ready(Some(Err(io::Error::other("planned error")))),
                Last::Panic => unwind(),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        let steps = self.plan.frames.len() + usize::from(self.plan.last != Last::Nothing);
        self.plan.flag && self.taken >= steps
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        match self.plan.length {
            Length::No | Length::Header | Length::TooMuch | Length::TooLittle => {}
            Length::AtLeast => hint.set_lower(self.plan.size()),
            // Not that it is asked later, but it would be wrong then.
            Length::Exact => hint.set_exact(self.plan.size()),
        }
        hint
    }
}

struct PlannedFuture {
    plan: Plan,
    polled: usize,
}

impl Future for PlannedFuture {
    type Output = Result<Response<PlannedBody>, io::Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.polled += 1;
        if self.polled <= self.plan.pending {
            return Poll::Pending;
        }
        Poll::Ready(match self.plan.head {
            Head::Answer => Ok(self.plan.response()),
            Head::Error => Err(io::Error::other("planned error")),
            Head::Timeout => Err(io::ErrorKind::TimedOut.into()),
            Head::Panic => unwind(),
        })
    }
}

/// Drives an exchange as planned. All of it is dropped here, by a panic if there is one.
fn drive<S, B>(mut service: S, plan: &Plan)
where
    S: Service<Request<()>, Response = Response<B>, Future: Unpin>,
    B: Body + Unpin,
{
    let mut future = service.call(plan.request());
    let mut body = None;
    for _ in 0..plan.polls {
        if let Some(body) = &mut body {
            // On after trailers and errors, as a transport should not but may.
            if let Poll::Ready(None) = poll_frame(body) {
                break;
            }
        } else {
            match poll(&mut future) {
                Poll::Pending => {}
                Poll::Ready(Ok(response)) => body = Some(response.into_body()),
                Poll::Ready(Err(_)) => break,
            }
        }
    }
    if plan.cut == Cut::Unwind {
        unwind();
    }
}

/// What every observer has to have been told.
#[derive(Debug, PartialEq)]
struct Expected {
    outcome: Outcome,
    phase: Phase,
    status: Option<StatusCode>,
    grpc: Option<GrpcCode>,
    bytes: u64,
}

/// The rules of the design, told from the plan alone.
fn model(plan: &Plan) -> Expected {
    let before_head = |outcome| Expected {
        outcome,
        phase: Phase::Head,
        status: None,
        grpc: None,
        bytes: 0,
    };
    if plan.call_panics {
        return before_head(Outcome::Panicked);
    }
    let Some(body_polls) = plan.polls.checked_sub(plan.pending + 1) else {
        return before_head(Outcome::CancelledBeforeHead);
    };
    match plan.head {
        Head::Answer => {}
        Head::Error => return before_head(Outcome::Failed),
        Head::Timeout => return before_head(Outcome::TimedOut),
        Head::Panic => return before_head(Outcome::Panicked),
    }

    let failed_in_front = plan.grpc_head.is_none() && plan.status.is_server_error();
    let is_grpc = plan.grpc_request
        && plan.method == Method::POST
        && (plan.grpc_head.is_some() || failed_in_front);
    let head_code = match plan.grpc_head {
        Some(GrpcHead(code)) => code,
        // What 500 stands for.
        None => failed_in_front.then_some(GrpcCode::Unknown),
    };
    let after_head = |outcome, bytes, trailers: Option<GrpcCode>| Expected {
        outcome,
        phase: Phase::Body,
        status: Some(plan.status),
        grpc: trailers
            .or(head_code)
            .or_else(|| (outcome == Outcome::Completed).then_some(GrpcCode::Unknown))
            .filter(|_| is_grpc),
        bytes,
    };
    let steps = plan.frames.len() + usize::from(plan.last != Last::Nothing);
    let status = plan.status.as_u16();
    if status == 101 || plan.method == Method::CONNECT && matches!(status, 200..300) {
        return after_head(Outcome::Upgraded, 0, None);
    }
    if plan.method == Method::HEAD || matches!(status, 204 | 304) || plan.flag && steps == 0 {
        return after_head(Outcome::Completed, 0, None);
    }

    let announced = plan.announced();
    // hyper cuts what is longer, and a client waits for the rest of what is shorter.
    let cut = |bytes: u64| announced.map_or(bytes, |announced| bytes.min(announced));
    let completes = |bytes, trailers| {
        let outcome = if announced.is_some_and(|announced| bytes < announced) {
            Outcome::BodyFailed
        } else {
            Outcome::Completed
        };
        after_head(outcome, cut(bytes), trailers)
    };
    let mut bytes = 0;
    for polled in 0..body_polls {
        match plan.frames.get(polled) {
            Some(Step::Pending) => {}
            Some(Step::Data(data)) => {
                bytes += *data as u64;
                if plan.flag && polled + 1 == steps {
                    return completes(bytes, None);
                }
            }
            None => {
                return match plan.last {
                    Last::Trailers(code) => completes(bytes, code),
                    Last::Error => after_head(Outcome::BodyFailed, cut(bytes), None),
                    Last::Panic => after_head(Outcome::Panicked, cut(bytes), None),
                    Last::Nothing => completes(bytes, None),
                };
            }
        }
    }
    // A gRPC response is not complete without its status.
    let status_to_come = is_grpc && head_code.is_none();
    let is_reached = announced.is_some_and(|announced| bytes >= announced);
    if is_reached && !status_to_come {
        after_head(Outcome::Completed, cut(bytes), None)
    } else {
        after_head(Outcome::CancelledDuringBody, cut(bytes), None)
    }
}

/// Runs one plan under several observers, and checks what each of them was told.
fn check(plan: &Plan) -> Result<Outcome, TestCaseError> {
    let recorders = [(); 4].map(|()| Recorder::new());
    let [a, b, c, d] = recorders.clone();
    let layer = ObserveLayer::new((a, Some(b), None::<Recorder>, Arc::new(c), d));
    let service = layer.layer(service_fn(|_: Request<()>| {
        if plan.call_panics {
            unwind();
        }
        PlannedFuture {
            plan: plan.clone(),
            polled: 0,
        }
    }));
    // It unwinds by the plan's panics; what matters is what the observers say.
    let _ = catch_unwind(AssertUnwindSafe(|| drive(service, plan)));

    let expected = model(plan);
    for recorder in &recorders {
        prop_assert_eq!(recorder.requests(), 1);
        let endings = recorder.endings();
        prop_assert_eq!(endings.len(), 1);
        prop_assert_eq!(recorder.heads(), usize::from(expected.status.is_some()));
        let ended = &endings[0];
        let told = Expected {
            outcome: ended.outcome,
            phase: ended.phase,
            status: ended.status,
            grpc: ended.grpc,
            bytes: ended.bytes_sent,
        };
        prop_assert_eq!(&told, &expected);
        prop_assert_eq!(recorder.data().iter().sum::<usize>() as u64, expected.bytes);
        prop_assert_eq!(ended.class, expected.outcome.class(told.status, told.grpc));
        prop_assert_eq!(ended.time_to_head.is_some(), told.phase == Phase::Body);
    }
    prop_assert_eq!(record::scopes(), 0);
    Ok(expected.outcome)
}

#[test]
fn every_observer_sees_one_beginning_and_one_right_end() {
    const CASES: u32 = 4_096;
    let mut seen = [0u32; Outcome::ALL.len()];
    let count = std::cell::RefCell::new(&mut seen);
    let mut config = Config::with_cases(CASES);
    config.failure_persistence = None;
    let result = TestRunner::new(config).run(&plan(), |plan| {
        let outcome = check(&plan)?;
        let place = Outcome::ALL.iter().position(|known| *known == outcome);
        count.borrow_mut()[place.unwrap()] += 1;
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    for (outcome, times) in Outcome::ALL.iter().zip(seen) {
        assert!(times >= CASES / 100, "{outcome} came only {times} times");
    }
}
