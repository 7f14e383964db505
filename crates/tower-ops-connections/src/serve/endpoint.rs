//! `/connections`: what is open, and closing one by hand.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tower_ops_core::http::{Answer, AnswerBody, BadQuery, Query, is_read, path};
use tower_service::Service;

use crate::{ConnectionSnapshot, Connections};

/// Answers which connections are open, as JSON, and closes one by hand.
///
/// | request | answers | parameters |
/// |---|---|---|
/// | `GET /connections` | those that are open, the oldest first | `limit`, `after` |
/// | `GET /connections/{id}` | one of them | |
/// | `DELETE /connections/{id}` | 202: it is being closed, in order | |
///
/// `limit` is 100 unless given, and 1,000 at most. Where there are more, the answer
/// has a `next`: give it as `after` to get the following page.
///
/// Who may not see [details](Self::details) does not see peers. Nobody may close
/// connections unless [`close_if`](Self::close_if) says who: 403 then, and 401 for
/// those whom it does not let.
///
/// Made by [`Connections::service`]. Always ready to be called; answers at once.
#[derive(Clone)]
pub struct ConnectionsService {
    connections: Connections,
    details: May,
    close: Option<May>,
}

type May = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

impl Connections {
    /// A service that answers `/connections`, without details: see
    /// [`ConnectionsService`].
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use tower_ops_connections::Connections;
    ///
    /// let connections = Connections::new();
    /// // On a port of its own, that only operators reach:
    /// let operations: Router =
    ///     Router::new().fallback_service(connections.service().details(true));
    /// ```
    #[must_use]
    pub fn service(&self) -> ConnectionsService {
        ConnectionsService {
            connections: self.clone(),
            details: Arc::new(|_| false),
            close: None,
        }
    }
}

const LIST: &str = "/connections";
const PATHS: &[&str] = &[LIST, "/connections/{id}"];
const METHODS: &[&str] = &["GET", "HEAD", "DELETE"];

impl ConnectionsService {
    /// Whether everybody sees peers. Nobody does by default.
    #[must_use]
    pub fn details(self, everybody: bool) -> Self {
        self.details_if(move |_| everybody)
    }

    /// Lets those see peers of whose request this is true.
    #[must_use]
    pub fn details_if(mut self, may: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.details = Arc::new(may);
        self
    }

    /// Lets those close connections of whose request this is true.
    #[must_use]
    pub fn close_if(mut self, may: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.close = Some(Arc::new(may));
        self
    }

    fn answer(&self, parts: &Parts) -> Answer {
        let path = path(&parts.uri);
        if path == LIST {
            return if is_read(&parts.method) {
                self.list(parts)
            } else {
                Answer::method_not_allowed(&["GET", "HEAD"])
            };
        }
        let Some(id) = path.strip_prefix("/connections/") else {
            return Answer::not_found(PATHS);
        };
        let is_delete = parts.method == Method::DELETE;
        let answer = match id.parse() {
            _ if !is_delete && !is_read(&parts.method) => Answer::method_not_allowed(METHODS),
            Ok(id) if is_delete => self.close(id, parts),
            Ok(id) => self.show(id, parts),
            Err(_) => Answer::problem(StatusCode::BAD_REQUEST, "the id is not a number"),
        };
        answer.with_allow(METHODS)
    }

    fn list(&self, parts: &Parts) -> Answer {
        const PARAMETERS: &[&str] = &["limit", "after"];
        let query = parts.uri.query().unwrap_or_default();
        let asked =
            Query::parse(query, PARAMETERS).and_then(|query| Ok((query.limit()?, after(&query)?)));
        let (limit, after) = match asked {
            Ok(asked) => asked,
            Err(bad) => return Answer::bad_query(&bad, PARAMETERS),
        };
        // One more than shown tells whether there is a next page.
        let mut connections = self.connections.snapshot(after, limit + 1);
        let more = connections.len() > limit;
        connections.truncate(limit);
        let next = connections.last().map(|last| last.id).filter(|_| more);
        self.hide(&mut connections, parts);
        Answer::ok(&Listing {
            connections,
            open: self.connections.len(),
            next,
        })
    }

    fn show(&self, id: u64, parts: &Parts) -> Answer {
        let Some(connection) = self.connections.get(id) else {
            return gone();
        };
        let mut shown = [ConnectionSnapshot::of(&connection)];
        self.hide(&mut shown, parts);
        Answer::ok(&shown[0])
    }

    fn hide(&self, connections: &mut [ConnectionSnapshot], parts: &Parts) {
        if !(self.details)(parts) {
            for connection in connections {
                connection.peer = None;
            }
        }
    }

    fn close(&self, id: u64, parts: &Parts) -> Answer {
        match &self.close {
            None => {
                return Answer::problem(
                    StatusCode::FORBIDDEN,
                    "closing connections is not switched on: the service has no token for it",
                );
            }
            Some(may) if !may(parts) => {
                return Answer::problem(
                    StatusCode::UNAUTHORIZED,
                    "closing a connection needs the bearer token",
                );
            }
            Some(_) => {}
        }
        let Some(connection) = self.connections.get(id) else {
            return gone();
        };
        connection.close();
        tracing::info!(id, "a connection is closed by hand");
        let mut shown = [ConnectionSnapshot::of(&connection)];
        self.hide(&mut shown, parts);
        Answer::json(StatusCode::ACCEPTED, &shown[0])
    }
}

fn gone() -> Answer {
    Answer::problem(StatusCode::NOT_FOUND, "no connection of that id is open")
}

fn after(query: &Query<'_>) -> Result<u64, BadQuery> {
    let after = query.get("after").map_or(Ok(0), str::parse);
    after.map_err(|_| BadQuery::new("after: not the \"next\" of an earlier answer"))
}

#[derive(Serialize)]
struct Listing {
    connections: Vec<ConnectionSnapshot>,
    open: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

impl<B> Service<Request<B>> for ConnectionsService {
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

impl fmt::Debug for ConnectionsService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionsService").finish_non_exhaustive()
    }
}
