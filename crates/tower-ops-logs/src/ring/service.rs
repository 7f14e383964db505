use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response, StatusCode};
use tower_ops_core::http::{Answer, AnswerBody, Query, is_read, path};
use tower_service::Service;

use crate::escape::Escape;
use crate::format::IdPlace;
use crate::logs::Logs;

const PATHS: &[&str] = &["/logs"];
const PARAMETERS: &[&str] = &["request_id", "limit"];

/// Answers the last lines of the log, as they were written: all of them, or those of one request.
///
/// | path | parameter | value |
/// |---|---|---|
/// | `/logs` | `request_id` | a whole request id |
/// | | `limit` | the most lines, the latest ones: 100 by default, at most 1,000 |
///
/// JSON lines are `application/x-ndjson`, others `text/plain`. What was dropped is not there. Lines
/// hold what clients sent: [choose who may see them](Self::allow_if), or mount it where only operators
/// get.
///
/// A slash at the end of the path makes no difference. The service is always ready, and answers
/// without waiting. Made by [`Logs::ring_service`].
#[derive(Clone)]
pub struct RingService {
    logs: Logs,
    allows: Option<Arc<dyn Fn(&Parts) -> bool + Send + Sync>>,
}

impl RingService {
    pub(crate) const fn new(logs: Logs) -> Self {
        Self { logs, allows: None }
    }

    /// Answers 403 to requests for which `may` returns false. Everybody may see all lines by default.
    #[must_use]
    pub fn allow_if(mut self, may: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.allows = Some(Arc::new(may));
        self
    }

    fn answer(&self, parts: &Parts) -> Answer {
        if !PATHS.contains(&path(&parts.uri)) {
            return Answer::not_found(PATHS);
        }
        if !is_read(&parts.method) {
            return Answer::method_not_allowed(&["GET", "HEAD"]);
        }
        if self.allows.as_ref().is_some_and(|allows| !allows(parts)) {
            let text = "needs permission to see what clients sent";
            return Answer::problem(StatusCode::FORBIDDEN, text);
        }
        let query = parts.uri.query().unwrap_or_default();
        let parsed = Query::parse(query, PARAMETERS).and_then(|query| {
            let id = query.get("request_id").map(str::to_owned);
            Ok((id, query.limit()?))
        });
        match parsed {
            Ok((id, limit)) => self.lines(id.as_deref(), limit),
            Err(bad) => Answer::bad_query(&bad, PARAMETERS),
        }
    }

    fn lines(&self, id: Option<&str>, limit: usize) -> Answer {
        let style = self.logs.style();
        // As it stands in the lines.
        let id = id.map(|id| {
            let mut escaped = Vec::new();
            Escape::new(&mut escaped, style.notation(), 6 * id.len() + 3).push(id);
            escaped
        });
        let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
        let mut take = |line: &[u8], place: IdPlace| {
            let begin = usize::from(place.begin);
            let its_id = &line[begin..begin + usize::from(place.length)];
            if id
                .as_deref()
                .is_none_or(|id| !id.is_empty() && id == its_id)
            {
                if lines.len() == limit {
                    lines.pop_front();
                }
                lines.push_back(without_colors(line));
            }
        };
        let shared = self.logs.writer().shared();
        if let Some(ring) = &shared.ring {
            ring.for_each(&mut take);
        }
        // The thread may wait for the reader of the output.
        shared.for_each_waiting(take);
        let content_type = if style.is_json() {
            "application/x-ndjson"
        } else {
            "text/plain; charset=utf-8"
        };
        let text: Vec<u8> = lines.into_iter().flatten().collect();
        Answer::text(StatusCode::OK, text).with_content_type(content_type)
    }
}

/// Removes the colours. No other escape sequence is in a line.
fn without_colors(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(escape) = rest.iter().position(|byte| *byte == 0x1b) {
        text.extend_from_slice(&rest[..escape]);
        let sequence = &rest[escape..];
        let end = sequence.iter().position(|byte| *byte == b'm');
        rest = end.map_or(&[][..], |end| &sequence[end + 1..]);
    }
    text.extend_from_slice(rest);
    text
}

impl<B> Service<Request<B>> for RingService {
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

impl fmt::Debug for RingService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingService").finish_non_exhaustive()
    }
}
