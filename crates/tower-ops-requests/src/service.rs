use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response, StatusCode};
use serde::Serialize;
use tower_ops_core::http::{Answer, AnswerBody, Query, is_read, path};
use tower_service::Service;

use self::query::Kept;
use crate::record::snapshot::RequestSnapshot;
use crate::tracker::RequestTracker;

pub(crate) mod query;

/// Answers what is in flight, what ended, and the statistics, as JSON.
///
/// | path | answers | parameters |
/// |---|---|---|
/// | `/requests` | in flight, the oldest first | `limit`, `after` |
/// | `/requests/history` | ended, the latest first | `request_id`, `kept`, `outcome`, `class`, `route`, `min_ms`, `limit` |
/// | `/requests/stats` | [`Stats`](crate::Stats) | |
///
/// Parameters combine: all have to match.
///
/// | parameter | value |
/// |---|---|
/// | `limit` | the most entries: 100 by default, at most 1,000 |
/// | `after` | `next` of the answer before, which is there if more is in flight. Requests that end in between move no entry to another page |
/// | `request_id` | a whole request id; 403 without [details](Self::with_details) |
/// | `kept` | `slowest`: only the [slowest](RequestTracker::slowest), the slowest first. `failed`: only the [failed](RequestTracker::failed), the latest first |
/// | `outcome` | an [outcome](crate::Outcome) or a [class](tower_ops_observe::Class) |
/// | `class` | a [class](tower_ops_observe::Class) |
/// | `route` | a route's template or a task's name, percent-encoded |
/// | `min_ms` | the least duration, in milliseconds |
///
/// Without `kept`, `/requests/history` lists the [last endings](RequestTracker::history), and after
/// them those of the failed and the slowest that are not among the last.
///
/// Without [details](Self::with_details) what a client sent, what identifies it and what handlers noted
/// is `null`.
///
/// A slash at the end of a path makes no difference. The service is always ready, and answers
/// without waiting. Made by [`RequestTracker::service`].
#[derive(Clone)]
pub struct RequestsService {
    tracker: RequestTracker,
    details: Arc<dyn Fn(&Parts) -> bool + Send + Sync>,
}

impl RequestTracker {
    /// Makes a service that answers `/requests`, `/requests/history` and `/requests/stats`, without
    /// [details](RequestsService::with_details).
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use tower_ops_requests::RequestTracker;
    ///
    /// let tracker = RequestTracker::new();
    /// // On a port of its own, that only operators reach:
    /// let operations: Router =
    ///     Router::new().fallback_service(tracker.service().with_details());
    /// ```
    #[must_use]
    pub fn service(&self) -> RequestsService {
        RequestsService {
            tracker: self.clone(),
            details: Arc::new(|_| false),
        }
    }
}

impl RequestsService {
    /// Shows paths, peers, request ids and notes in all answers. None has them by default.
    #[must_use]
    pub fn with_details(self) -> Self {
        self.with_details_if(|_| true)
    }

    /// Shows details in the answers to requests for which `authorize` returns true. Replaces
    /// [`with_details`](Self::with_details).
    #[must_use]
    pub fn with_details_if(
        mut self,
        authorize: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.details = Arc::new(authorize);
        self
    }

    fn answer(&self, parts: &Parts) -> Answer {
        let handler = match path(&parts.uri) {
            "/requests" => Self::in_flight,
            "/requests/history" => Self::history,
            "/requests/stats" => Self::stats,
            _ => return Answer::not_found(PATHS),
        };
        if !is_read(&parts.method) {
            return Answer::method_not_allowed(&["GET", "HEAD"]);
        }
        handler(self, parts)
    }

    fn in_flight(&self, parts: &Parts) -> Answer {
        const PARAMETERS: &[&str] = &["limit", "after"];
        let parsed = Query::parse(query_text(parts), PARAMETERS)
            .and_then(|query| Ok((query.limit()?, query::after(&query)?)));
        let (limit, after) = match parsed {
            Ok(parsed) => parsed,
            Err(bad) => return Answer::bad_query(&bad, PARAMETERS),
        };
        let registry = &self.tracker.inner.registry;
        let total = registry.in_flight_count();
        let (page, next) = registry.page(after, limit);
        Answer::ok(&Listing {
            requests: self.shown(self.tracker.running(&page), parts),
            in_flight: Some(total),
            next: next.map(query::cursor_text),
        })
    }

    fn history(&self, parts: &Parts) -> Answer {
        const PARAMETERS: &[&str] = &[
            "request_id",
            "kept",
            "outcome",
            "class",
            "route",
            "min_ms",
            "limit",
        ];
        let parsed = Query::parse(query_text(parts), PARAMETERS).and_then(|query| {
            let filter = query::filter(&query)?;
            Ok((filter, query::kept(&query)?, query.limit()?))
        });
        let (filter, kept, limit) = match parsed {
            Ok(parsed) => parsed,
            Err(bad) => return Answer::bad_query(&bad, PARAMETERS),
        };
        if filter.needs_details() && !(self.details)(parts) {
            return Answer::problem(
                StatusCode::FORBIDDEN,
                "request_id: is for callers who may see details: send a token, or let everybody see them",
            );
        }
        let registry = &self.tracker.inner.registry;
        let records = match kept {
            Kept::Anywhere => registry.all_kept(),
            Kept::Slowest => registry.slowest(),
            Kept::Failed => registry.failed(),
        };
        let now = registry.now();
        let matching = records
            .iter()
            .map(|record| RequestSnapshot::new(record, now))
            .filter(|snapshot| filter.matches(snapshot));
        Answer::ok(&Listing {
            requests: self.shown(matching.take(limit).collect(), parts),
            in_flight: None,
            next: None,
        })
    }

    fn stats(&self, parts: &Parts) -> Answer {
        match Query::parse(query_text(parts), &[]) {
            Ok(_) => Answer::ok(&self.tracker.stats()),
            Err(bad) => Answer::bad_query(&bad, &[]),
        }
    }

    fn shown(&self, requests: Vec<RequestSnapshot>, parts: &Parts) -> Vec<RequestSnapshot> {
        if (self.details)(parts) {
            return requests;
        }
        let without = requests.into_iter().map(RequestSnapshot::without_details);
        without.collect()
    }
}

const PATHS: &[&str] = &["/requests", "/requests/history", "/requests/stats"];

#[derive(Serialize)]
struct Listing {
    requests: Vec<RequestSnapshot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

fn query_text(parts: &Parts) -> &str {
    parts.uri.query().unwrap_or_default()
}

impl<B> Service<Request<B>> for RequestsService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, _) = request.into_parts();
        ready(Ok(self.answer(&parts).into_response(&parts.method)))
    }
}

impl fmt::Debug for RequestsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestsService").finish_non_exhaustive()
    }
}
