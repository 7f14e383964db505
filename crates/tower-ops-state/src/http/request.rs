//! What a request asks for, and whether it may.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use tower_ops_core::http::{Answer, BadQuery, Query, codings};

use crate::error::{ErrorKind, StateError};
use crate::peer::Peer;
use crate::problem::problem;
use crate::record::{Operation, Outcome, Record, Who};
use crate::restore::Restore;
use crate::shared::Shared;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Capture {
        hand_over: bool,
        expected_generation: Option<u64>,
    },
    Measure {
        expected_generation: Option<u64>,
    },
    Restore(Restore),
    Resume,
}

impl Ask {
    const fn operation(self) -> Operation {
        match self {
            Self::Capture {
                hand_over: true, ..
            } => Operation::HandOver,
            Self::Capture { .. } => Operation::Capture,
            Self::Measure { .. } => Operation::Measure,
            Self::Restore(how) if how.dry_run => Operation::DryRun,
            Self::Restore(_) => Operation::Restore,
            Self::Resume => Operation::Resume,
        }
    }
}

const GET: &[&str] = &["fence"];
const HEAD: &[&str] = &[];
const POST: &[&str] = &[
    "dry_run",
    "force",
    "allow_missing",
    "allow_unknown",
    "resume",
];

const METHODS: &[&str] = &["GET", "HEAD", "POST"];

/// Whether it would change something: a restore, opening the fence, or closing it.
pub(crate) fn changes(method: &Method, uri: &Uri) -> bool {
    match *method {
        Method::POST => true,
        Method::GET => {
            let query = uri.query().unwrap_or_default();
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.any(|(name, value)| name == "fence" && !matches!(&*value, "0" | "false"))
        }
        _ => false,
    }
}

/// What OPTIONS is answered: what GET would be, as far as that is known without doing it.
fn would_be(shared: &Shared, ask: Ask) -> Answer {
    let expected = match ask {
        Ask::Capture {
            expected_generation,
            ..
        } => expected_generation,
        _ => None,
    };
    let possible = shared
        .check_members()
        .and_then(|()| shared.permit().map(drop))
        .and_then(|()| shared.check_generation(expected));
    match possible {
        Ok(()) => Answer::ok(&()),
        Err(error) => problem(&error),
    }
}

/// Decides by the head alone. Who has no token learns nothing else.
pub(crate) fn admit<B>(shared: &Shared, request: &Request<B>) -> Result<(Ask, Record), Answer> {
    decide(shared, request).map_err(|answer| answer.with_allow(METHODS))
}

fn decide<B>(shared: &Shared, request: &Request<B>) -> Result<(Ask, Record), Answer> {
    let token = shared.tokens.shown(request.headers());
    let who = Who {
        token,
        peer: request.extensions().get().map(Peer::to_string),
        is_process: false,
    };
    let is_let_in = token.is_some();
    let reject = |answer: Answer, operation: Operation, outcome: Outcome| {
        shared.record(operation, who.clone()).end(outcome);
        answer
    };
    // What is asked is written down also for those who may not.
    let likely = match *request.method() {
        Method::POST => Operation::Restore,
        Method::HEAD => Operation::Measure,
        _ => Operation::Capture,
    };
    if shared.tokens.is_empty() {
        return Err(reject(closed(shared), likely, Outcome::Unauthorized));
    }
    if !is_let_in {
        let answer = Answer::problem(
            StatusCode::UNAUTHORIZED,
            "a bearer token is needed: authorization: Bearer <token>",
        );
        return Err(reject(answer, likely, Outcome::Unauthorized));
    }
    let ask = ask(request).map_err(|answer| reject(answer, likely, Outcome::Rejected))?;
    if *request.method() == Method::OPTIONS {
        return Err(would_be(shared, ask));
    }
    if let Ask::Restore(how) = ask {
        check_body(request.headers())
            .map_err(|answer| reject(answer, ask.operation(), Outcome::Rejected))?;
        check_length(request.headers(), shared.limits.max_size)
            .and_then(|()| check_time(shared, how))
            .map_err(|error| reject(problem(&error), ask.operation(), Outcome::from(&error)))?;
    }
    Ok((ask, shared.record(ask.operation(), who)))
}

fn closed(shared: &Shared) -> Answer {
    let text = format!(
        "the state is closed, as no token is configured: set {} to one of 16 characters or more",
        shared.token_variable
    );
    Answer::problem(StatusCode::NOT_FOUND, &text)
}

fn ask<B>(request: &Request<B>) -> Result<Ask, Answer> {
    let query = request.uri().query().unwrap_or("");
    let parse = |valid: &'static [&'static str]| {
        let query = Query::parse(query, valid).map_err(|bad| Answer::bad_query(&bad, valid))?;
        let expected = expected_generation(request.headers())?;
        Ok((Flags { query, valid }, expected))
    };
    match *request.method() {
        Method::GET | Method::OPTIONS => {
            let (flags, expected_generation) = parse(GET)?;
            Ok(Ask::Capture {
                hand_over: flags.get("fence")?,
                expected_generation,
            })
        }
        Method::HEAD => {
            let (_, expected_generation) = parse(HEAD)?;
            Ok(Ask::Measure {
                expected_generation,
            })
        }
        Method::POST => {
            let (flags, expected_generation) = parse(POST)?;
            let how = Restore {
                dry_run: flags.get("dry_run")?,
                force: flags.get("force")?,
                allow_missing: flags.get("allow_missing")?,
                allow_unknown: flags.get("allow_unknown")?,
                expected_generation,
            };
            if flags.get("resume")? {
                return Ok(Ask::Resume);
            }
            Ok(Ask::Restore(how))
        }
        _ => Err(Answer::method_not_allowed(METHODS)),
    }
}

struct Flags<'a> {
    query: Query<'a>,
    valid: &'static [&'static str],
}

impl Flags<'_> {
    fn get(&self, name: &str) -> Result<bool, Answer> {
        match self.query.get(name) {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(_) => {
                let bad = BadQuery::new(format!("{name}: is neither 1 nor 0"));
                Err(Answer::bad_query(&bad, self.valid))
            }
        }
    }
}

/// `If-Match: "7"`. A generation is no digest of the state, but what a client can have
/// an expectation of.
fn expected_generation(headers: &HeaderMap) -> Result<Option<u64>, Answer> {
    let Some(header) = headers.get(IF_MATCH) else {
        return Ok(None);
    };
    let text = header.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let number = number.unwrap_or(text).parse();
    number.map(Some).map_err(|_| {
        let text = "if-match: is not one generation, such as \"7\"";
        Answer::problem(StatusCode::BAD_REQUEST, text)
    })
}

fn check_body(headers: &HeaderMap) -> Result<(), Answer> {
    let is_json = |header: &HeaderValue| {
        let text = header.to_str().unwrap_or_default();
        let kind = text.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    };
    if !headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return Err(unsupported("content-type: has to be application/json"));
    }
    let is_known = match &*codings(headers, CONTENT_ENCODING) {
        [] => true,
        [one] if one == "gzip" => cfg!(feature = "compression"),
        _ => false,
    };
    if !is_known {
        return Err(unsupported(if cfg!(feature = "compression") {
            "content-encoding: has to be gzip or identity"
        } else {
            "content-encoding: has to be identity"
        }));
    }
    Ok(())
}

fn unsupported(text: &str) -> Answer {
    Answer::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
}

/// Also of what is compressed, which gets larger still.
fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), StateError> {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length > limit => Err(StateError::too_large(limit)),
        _ => Ok(()),
    }
}

fn check_time(shared: &Shared, how: Restore) -> Result<(), StateError> {
    // Over the network, that nobody said when it may be is no permission.
    if !how.dry_run && !how.force && !shared.says_when_to_restore() {
        return Err(StateError::new(
            ErrorKind::NotNow,
            "nothing says when this instance may be restored: restore with ?force=1, or \
             configure restore_when",
        ));
    }
    shared.check_time(how)
}
