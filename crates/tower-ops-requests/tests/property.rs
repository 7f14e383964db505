//! Whatever becomes of exchanges and tasks, and on whatever thread: in the end none is in flight,
//! and the history has each exactly once, as an observer beside the tracker saw it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use tower::{Layer, Service, service_fn};
use tower_ops_observe::{Class, Ending, Facts, Observe, ObserveLayer, Phase, ResponseBody};
use tower_ops_requests::{Kind, Outcome, RequestHandle, RequestSnapshot, RequestTracker, Tracked};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::{poll, poll_frame};

/// All that is random about one piece of work.
#[derive(Clone, Debug)]
struct Plan {
    is_task: bool,
    method: Method,
    call_panics: bool,
    pending: usize,
    head: Head,
    status: StatusCode,
    event_stream: bool,
    frames: Vec<Frame>,
    flag: bool,
    announced: bool,
    marks: Marks,
    cut: Cut,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Head {
    Answer,
    Error,
    Timeout,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Frame {
    Data(usize),
    Pending,
    Trailers,
    Error,
    Panic,
}

/// How the handler marks its own exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Marks {
    Nothing,
    Note,
    Failed,
    Rejected,
}

/// How it is dropped once it has had its polls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Drop,
    /// By the panic of somebody else.
    Unwind,
    OnAnotherThread,
}

fn plan() -> impl Strategy<Value = Plan> {
    let head = prop_oneof![
        8 => Just(Head::Answer),
        1 => Just(Head::Error),
        1 => Just(Head::Timeout),
        1 => Just(Head::Panic),
    ];
    let frame = prop_oneof![
        8 => (0usize..9).prop_map(Frame::Data),
        3 => Just(Frame::Pending),
        1 => Just(Frame::Trailers),
        1 => Just(Frame::Error),
        1 => Just(Frame::Panic),
    ];
    let status = select(vec![200u16, 200, 200, 404, 500, 504, 101, 204]);
    let methods = vec![
        Method::GET,
        Method::GET,
        Method::POST,
        Method::HEAD,
        Method::CONNECT,
    ];
    let marks = vec![
        Marks::Nothing,
        Marks::Nothing,
        Marks::Note,
        Marks::Failed,
        Marks::Rejected,
    ];
    let begin = (
        prop::bool::weighted(0.25),
        select(methods),
        prop::bool::weighted(0.05),
    );
    let answer = (0usize..3, head, status, prop::bool::weighted(0.2));
    let body = (
        prop::collection::vec(frame, 0..4),
        any::<bool>(),
        any::<bool>(),
    );
    let cut = select(vec![Cut::Drop, Cut::Unwind, Cut::OnAnotherThread]);
    (begin, answer, body, select(marks), cut).prop_map(|(begin, answer, body, marks, cut)| Plan {
        is_task: begin.0,
        method: begin.1,
        call_panics: begin.2,
        pending: answer.0,
        head: answer.1,
        status: StatusCode::from_u16(answer.2).unwrap(),
        event_stream: answer.3,
        frames: body.0,
        flag: body.1,
        announced: body.2,
        marks,
        cut,
    })
}

/// Some work, and whose turn it is to be polled.
fn plans() -> impl Strategy<Value = (Vec<Plan>, Vec<usize>)> {
    prop::collection::vec(plan(), 1..9).prop_flat_map(|plans| {
        let turns = prop::collection::vec(0..plans.len(), 0..plans.len() * 8);
        (Just(plans), turns)
    })
}

impl Plan {
    fn response(&self) -> Response<ScriptedBody> {
        let mut size = 0;
        let mut body = ScriptedBody::new().end_stream_flag(self.flag);
        for frame in &self.frames {
            body = match frame {
                Frame::Data(bytes) => {
                    size += *bytes as u64;
                    body.data(vec![0; *bytes])
                }
                Frame::Pending => body.pending(),
                Frame::Trailers => body.trailers(HeaderMap::new()),
                Frame::Error => body.error("planned error"),
                Frame::Panic => body.panic(),
            };
        }
        if self.announced {
            body = body.exact(size);
        }
        let mut response = Response::builder().status(self.status);
        if self.event_stream {
            response = response.header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8");
        }
        response.body(body).unwrap()
    }

    /// How the handler or the task marks itself in its first poll.
    fn mark(&self) {
        let handle = RequestHandle::current().unwrap();
        match self.marks {
            Marks::Nothing => {}
            Marks::Note => handle.annotate("note", "of the handler"),
            Marks::Failed => handle.fail("planned failure"),
            Marks::Rejected => handle.reject("planned rejection"),
        }
    }

    /// How it shows in the history, given how an observer saw it end.
    fn shown(&self, observed: (Outcome, Class)) -> (Outcome, Class) {
        match (self.marks, observed.0) {
            (Marks::Failed, Outcome::Completed) => (Outcome::Failed, Class::ServerError),
            (Marks::Rejected, Outcome::Completed) => (Outcome::Completed, Class::ClientError),
            _ => observed,
        }
    }

    fn kind(&self, observed: &Observed) -> Kind {
        if self.is_task {
            Kind::Task
        } else if observed.outcome == Outcome::Upgraded
            || self.status == 101 && observed.phase == Phase::Body
        {
            Kind::Upgrade
        } else if self.event_stream && !self.announced && observed.phase == Phase::Body {
            Kind::Stream
        } else {
            Kind::Request
        }
    }
}

/// Unwinds without the hook that would print thousands of panics.
fn unwind() -> ! {
    resume_unwind(Box::new("planned panic"))
}

/// The service's future, and the task.
struct Planned {
    plan: Plan,
    polled: usize,
}

impl Future for Planned {
    type Output = Result<Response<ScriptedBody>, io::Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.plan.mark();
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

/// How an exchange ended, as an observer saw it.
#[derive(Clone, Debug)]
struct Observed {
    outcome: Outcome,
    class: Class,
    phase: Phase,
    status: Option<StatusCode>,
    bytes: u64,
}

/// Writes down, by path, how each exchange ended.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, Observed>>>);

impl Observe for Recorder {
    type Exchange = String;

    fn on_request<B>(&self, request: &mut Request<B>, _: &mut Facts) -> String {
        request.uri().path().to_owned()
    }

    fn on_end(&self, path: &mut String, ending: &Ending<'_>, _: &Facts) {
        let observed = Observed {
            outcome: ending.outcome(),
            class: ending.class(),
            phase: ending.phase(),
            status: ending.status(),
            bytes: ending.bytes_sent(),
        };
        self.0.lock().unwrap().insert(path.clone(), observed);
    }
}

type Both = (Recorder, RequestTracker);

/// One piece of work under way.
enum Work {
    Head(
        Pin<
            Box<dyn Future<Output = io::Result<Response<ResponseBody<ScriptedBody, Both>>>> + Send>,
        >,
    ),
    Body(Box<ResponseBody<ScriptedBody, Both>>),
    Task(Box<Tracked<Planned>>),
    /// What it came to, if it was a task that came to something.
    Over(Option<Outcome>),
}

fn begin(layer: &ObserveLayer<Both>, tracker: &RequestTracker, number: usize, plan: &Plan) -> Work {
    let planned = |plan: &Plan| Planned {
        plan: plan.clone(),
        polled: 0,
    };
    if plan.is_task {
        let task = tracker.track(format!("task-{number}"), (), planned(plan));
        return Work::Task(Box::new(task));
    }
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        if plan.call_panics {
            unwind();
        }
        planned(plan)
    }));
    let request = Request::builder()
        .header("upgrade", "planned")
        .method(&plan.method)
        .uri(format!("/{number}"))
        .body(())
        .unwrap();
    catch_unwind(AssertUnwindSafe(|| service.call(request)))
        .map_or(Work::Over(None), |future| Work::Head(Box::pin(future)))
}

/// Polls it once; a panic drops it, as a runtime would.
fn step(work: Work) -> Work {
    let unwound = match &work {
        Work::Task(_) => Work::Over(Some(Outcome::Panicked)),
        _ => Work::Over(None),
    };
    let polled = catch_unwind(AssertUnwindSafe(move || match work {
        Work::Head(mut future) => match poll(&mut future) {
            Poll::Pending => Work::Head(future),
            Poll::Ready(Ok(response)) => Work::Body(Box::new(response.into_body())),
            Poll::Ready(Err(_)) => Work::Over(None),
        },
        Work::Body(mut body) => match poll_frame(&mut *body) {
            Poll::Ready(None) => Work::Over(None),
            _ => Work::Body(body),
        },
        Work::Task(mut task) => match poll(&mut task) {
            Poll::Pending => Work::Task(task),
            Poll::Ready(Ok(_)) => Work::Over(Some(Outcome::Completed)),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Work::Over(Some(Outcome::TimedOut))
            }
            Poll::Ready(Err(_)) => Work::Over(Some(Outcome::Failed)),
        },
        over @ Work::Over(_) => over,
    }));
    polled.unwrap_or(unwound)
}

/// Drops it as planned, and returns how a task ended.
fn cut(work: Work, cut: Cut) -> Option<Outcome> {
    let outcome = match &work {
        Work::Task(_) => Some(Outcome::Cancelled),
        Work::Over(outcome) => *outcome,
        _ => None,
    };
    match cut {
        Cut::Drop => drop(work),
        Cut::Unwind => {
            let _ = catch_unwind(AssertUnwindSafe(move || {
                let _work = work;
                unwind();
            }));
        }
        Cut::OnAnotherThread => std::thread::spawn(move || drop(work)).join().unwrap(),
    }
    outcome
}

fn class_of_task(outcome: Outcome) -> Class {
    match outcome {
        Outcome::Completed => Class::Success,
        Outcome::TimedOut => Class::Timeout,
        Outcome::Cancelled => Class::Cancelled,
        _ => Class::ServerError,
    }
}

fn label(snapshot: &RequestSnapshot) -> String {
    let label = snapshot.path.clone().or_else(|| snapshot.name.clone());
    label.unwrap()
}

/// Those in flight, by path and name.
fn in_flight(tracker: &RequestTracker) -> BTreeSet<String> {
    tracker.in_flight().iter().map(label).collect()
}

fn check(plans: &[Plan], turns: &[usize]) -> Result<Vec<Outcome>, TestCaseError> {
    let (recorder, tracker) = Both::default();
    let layer = ObserveLayer::new((recorder.clone(), tracker.clone()));
    let mut work: Vec<Work> = plans
        .iter()
        .enumerate()
        .map(|(number, plan)| begin(&layer, &tracker, number, plan))
        .collect();
    let names: Vec<String> = plans
        .iter()
        .enumerate()
        .map(|(number, plan)| format!("{}{number}", if plan.is_task { "task-" } else { "/" }))
        .collect();

    for turn in turns {
        work[*turn] = step(std::mem::replace(&mut work[*turn], Work::Over(None)));
        let observed = recorder.0.lock().unwrap();
        let running = names.iter().zip(&work).filter(|(name, work)| match work {
            Work::Task(_) => true,
            Work::Over(_) => false,
            _ => !observed.contains_key(*name),
        });
        let running: BTreeSet<String> = running.map(|(name, _)| name.clone()).collect();
        drop(observed);
        prop_assert_eq!(in_flight(&tracker), running);
    }

    let mut ends = Vec::new();
    for (work, plan) in work.into_iter().zip(plans) {
        ends.push(cut(work, plan.cut));
    }
    prop_assert_eq!(tracker.in_flight_count(), 0);
    prop_assert!(tracker.is_idle());
    prop_assert!(RequestHandle::current().is_none());

    let history = tracker.history();
    prop_assert_eq!(history.len(), plans.len());
    let history: BTreeMap<String, RequestSnapshot> = history
        .into_iter()
        .map(|ended| (label(&ended), ended))
        .collect();
    let observed = recorder.0.lock().unwrap();
    for (((plan, name), end), number) in plans.iter().zip(&names).zip(ends).zip(0..) {
        let shown = history.get(name);
        prop_assert!(shown.is_some(), "number {} is missing", number);
        let shown = shown.unwrap();
        let observed = end.map_or_else(
            || observed[name].clone(),
            |outcome| Observed {
                outcome,
                class: class_of_task(outcome),
                phase: Phase::Body,
                status: None,
                bytes: 0,
            },
        );
        let (outcome, class) = plan.shown((observed.outcome, observed.class));
        prop_assert_eq!((shown.outcome, shown.class), (Some(outcome), Some(class)));
        prop_assert_eq!(
            (shown.phase, shown.status),
            (observed.phase, observed.status)
        );
        prop_assert_eq!(shown.bytes_sent, observed.bytes);
        prop_assert_eq!(shown.kind, plan.kind(&observed));
        prop_assert!(shown.duration.is_some());
    }

    let stats = tracker.stats();
    let outcomes: Vec<Outcome> = history.values().filter_map(|it| it.outcome).collect();
    for outcome in all_outcomes() {
        let count = outcomes.iter().filter(|each| **each == outcome).count() as u64;
        prop_assert_eq!(stats.outcome(outcome), count);
    }
    Ok(outcomes)
}

/// Those of exchanges, and that of tasks which were dropped.
fn all_outcomes() -> impl Iterator<Item = Outcome> {
    Outcome::ALL.into_iter().chain([Outcome::Cancelled])
}

#[test]
fn each_is_in_flight_until_its_end_and_then_once_in_the_history() {
    const CASES: u32 = 2_048;
    quiet_scripted_panics();
    let seen = Mutex::new([0u32; Outcome::ALL.len() + 1]);
    let mut config = Config::with_cases(CASES);
    config.failure_persistence = None;
    let result = TestRunner::new(config).run(&plans(), |(plans, turns)| {
        for outcome in check(&plans, &turns)? {
            seen.lock().unwrap()[outcome as usize] += 1;
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    for (outcome, times) in all_outcomes().zip(seen.into_inner().unwrap()) {
        assert!(times >= CASES / 100, "{outcome} came only {times} times");
    }
}

/// Thousands of them are planned.
fn quiet_scripted_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref() != Some(&"scripted panic of a body") {
            usual(info);
        }
    }));
}
