//! `/connections`: lists open connections, and closes one by hand.

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

/// A service that lists the open connections as JSON, and closes one by hand.
///
/// | request | answers | parameters |
/// |---|---|---|
/// | `GET /connections` | the open connections, the oldest first | `limit`, `after` |
/// | `GET /connections/{id}` | one connection | |
/// | `DELETE /connections/{id}` | 202: the connection is being closed, in order | |
///
/// `limit` is 100 by default, and at most 1,000. If there are more connections, the answer has a
/// `next`: pass it as `after` to get the following page.
///
/// Peers are only in answers with [details](Self::with_details). Nobody may close connections by default
/// (403); [`with_close_if`](Self::with_close_if) authorizes requests, and others get 401.
///
/// Made by [`Connections::service`]. Always ready to be called; answers at once.
#[derive(Clone)]
pub struct ConnectionsService {
    connections: Connections,
    details: Authorize,
    close: Option<Authorize>,
}

type Authorize = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

impl Connections {
    /// Returns a service for `/connections`, without details: see [`ConnectionsService`].
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use tower_ops_connections::Connections;
    ///
    /// let connections = Connections::new();
    /// // On a port of its own that only operators can reach:
    /// let operations: Router =
    ///     Router::new().fallback_service(connections.service().with_details());
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
    /// Shows peers in all answers. They are in none by default.
    #[must_use]
    pub fn with_details(self) -> Self {
        self.with_details_if(|_| true)
    }

    /// Shows peers in the answers to requests for which `authorize` returns true. Replaces
    /// [`with_details`](Self::with_details).
    #[must_use]
    pub fn with_details_if(
        mut self,
        authorize: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.details = Arc::new(authorize);
        self
    }

    /// Sets which requests may close connections. None by default.
    #[must_use]
    pub fn with_close_if(
        mut self,
        authorize: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.close = Some(Arc::new(authorize));
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
        // One more than the limit, to know whether there is a next page.
        let mut connections = self.connections.snapshot(after, limit + 1);
        let more = connections.len() > limit;
        connections.truncate(limit);
        let next = connections.last().map(|last| last.id).filter(|_| more);
        self.hide(&mut connections, parts);
        Answer::ok(&ConnectionList {
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
            Some(authorize) if !authorize(parts) => {
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
        tracing::info!(id, "closing a connection by hand");
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
struct ConnectionList {
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
