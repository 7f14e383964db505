use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use serde::Serialize;
use tower_ops_core::http::{Answer, AnswerBody, BadQuery, Query, is_read, path};
use tower_service::Service;

use super::{Current, MAX_FOR, SetError};
use crate::filter::MAX_FILTER;
use crate::logs::Logs;

const PATHS: &[&str] = &["/loglevel"];
const METHODS: &[&str] = &["GET", "HEAD", "PUT"];
const PARAMETERS: &[&str] = &["for"];

/// Shows the filter of the log, and changes it.
///
/// | method | effect |
/// |---|---|
/// | GET | none |
/// | PUT | The body, as text, becomes the filter: directives such as `debug` or `orders::db=debug`. With `?for=10m` the filter of before comes back after that time, at most 24 h; `ms`, `s`, `m` and `h` are the units |
///
/// The answer to both is the filter, and what it returns to:
///
/// ```json
/// {"filter":"debug","returns_to":"info","returns_at":"2026-11-25T14:03:41.000000Z","returns_in_ms":600000}
/// ```
///
/// Directives without a level of their own keep the level of all other targets. Directives that are
/// wrong are answered 400 with the reason, and change nothing. A body of more than 4 KiB is answered
/// 413. Each change is logged.
///
/// It asks for no permission: mount it on tower-ops-admin, which requires a token with the role for
/// writing for PUT, or where only operators get.
///
/// A slash at the end of the path makes no difference. The service is always ready. Dropping its
/// future before the body was read changes nothing. Made by [`Logs::level_service`].
#[derive(Clone)]
pub struct LevelService {
    logs: Logs,
}

#[derive(Serialize)]
struct Shown {
    filter: String,
    returns_to: Option<String>,
    returns_at: Option<String>,
    returns_in_ms: Option<u64>,
}

impl Shown {
    fn new(current: Current) -> Self {
        let returns = current.returns;
        Self {
            filter: current.filter,
            returns_at: returns.as_ref().map(|returns| returns.at.text()),
            returns_in_ms: returns.as_ref().map(|returns| {
                let after = returns.after.as_millis();
                u64::try_from(after).unwrap_or(u64::MAX)
            }),
            returns_to: returns.map(|returns| returns.to),
        }
    }
}

impl LevelService {
    pub(crate) const fn new(logs: Logs) -> Self {
        Self { logs }
    }

    /// Answers, unless the body is wanted for it.
    fn begin(&self, parts: &Parts) -> Result<Option<Duration>, Answer> {
        if !PATHS.contains(&path(&parts.uri)) {
            return Err(Answer::not_found(PATHS));
        }
        let query = parts.uri.query().unwrap_or_default();
        if parts.method == Method::PUT {
            return Query::parse(query, PARAMETERS)
                .and_then(|query| query.get("for").map(time).transpose())
                .map_err(|bad| Answer::bad_query(&bad, PARAMETERS));
        }
        if !is_read(&parts.method) {
            return Err(Answer::method_not_allowed(METHODS));
        }
        Err(match Query::parse(query, &[]) {
            Ok(_) => Answer::ok(&Shown::new(self.logs.level().current())).with_allow(METHODS),
            Err(bad) => Answer::bad_query(&bad, &[]),
        })
    }

    fn set(&self, body: &[u8], time: Option<Duration>) -> Answer {
        let Ok(directives) = str::from_utf8(body) else {
            return Answer::problem(StatusCode::BAD_REQUEST, "the body is no text");
        };
        match self.logs.level().set(directives.trim(), time) {
            Ok(current) => Answer::ok(&Shown::new(current)),
            Err(SetError::Filter(error)) => {
                let text = format!("the filter was not changed: {error}");
                Answer::problem(StatusCode::BAD_REQUEST, &text)
            }
            Err(SetError::Thread(_)) => {
                let text = "the filter was not changed: no thread for changing it back";
                Answer::problem(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }
}

/// Reads a time such as `10m`.
fn time(text: &str) -> Result<Duration, BadQuery> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = number.parse::<u64>().ok().zip(unit);
    let millis = millis.and_then(|(number, unit)| number.checked_mul(unit));
    let time = millis.map(Duration::from_millis);
    time.filter(|time| !time.is_zero() && *time <= MAX_FOR)
        .ok_or_else(|| BadQuery::new("for: not a time of up to 24h, such as 10m or 30s"))
}

impl<B: Body> Service<Request<B>> for LevelService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = LevelFuture<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> LevelFuture<B> {
        let (parts, body) = request.into_parts();
        let begun = self.begin(&parts);
        LevelFuture {
            method: parts.method,
            service: self.clone(),
            begun: Some(begun),
            read: Vec::new(),
            body,
        }
    }
}

impl fmt::Debug for LevelService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LevelService").finish_non_exhaustive()
    }
}

pin_project! {
    /// The answer of a [`LevelService`].
    pub struct LevelFuture<B> {
        method: Method,
        service: LevelService,
        begun: Option<Result<Option<Duration>, Answer>>,
        read: Vec<u8>,
        #[pin]
        body: B,
    }
}

impl<B: Body> Future for LevelFuture<B> {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.begun {
            Some(Ok(time)) => {
                let read = ready!(poll_read(this.body, this.read, cx));
                read.map_or_else(|answer| answer, |()| this.service.set(this.read, *time))
            }
            _ => match this.begun.take() {
                Some(Err(answer)) => answer,
                // A contract of futures.
                _ => panic!("polled after it was ready"),
            },
        };
        *this.begun = None;
        Poll::Ready(Ok(answer.into_response(this.method)))
    }
}

/// Reads a body that is no larger than a filter may be.
fn poll_read<B: Body>(
    mut body: Pin<&mut B>,
    read: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Answer>> {
    while let Some(frame) = ready!(body.as_mut().poll_frame(cx)) {
        let Ok(frame) = frame else {
            let answer = Answer::problem(StatusCode::BAD_REQUEST, "the body broke off");
            return Poll::Ready(Err(answer));
        };
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.remaining() > MAX_FILTER {
            let text = format!("a filter has {MAX_FILTER} bytes at most");
            let answer = Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, &text);
            return Poll::Ready(Err(answer));
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            read.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    Poll::Ready(Ok(()))
}

impl<B> fmt::Debug for LevelFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LevelFuture").finish_non_exhaustive()
    }
}
