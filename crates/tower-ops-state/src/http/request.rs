//! What a request asks for, and whether its client may.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use tower_ops_core::http::{Accept, Answer, BadQuery, Query, UsedToken, codings};
use tower_ops_core::secret::TokenDigest;

use super::{StateService, problem};
use crate::audit::{AuditEntry, Operation, Outcome};
use crate::error::{ErrorKind, StateError, StateResult};
use crate::restore::Restore;
use crate::state::{StateInner, Tokens};

const METHODS: &[&str] = &["GET", "HEAD", "POST"];

/// The parameters of each method.
const GET: &[&str] = &["fence"];
const HEAD: &[&str] = &[];
const POST: &[&str] = &[
    "dry_run",
    "force",
    "allow_missing",
    "allow_unknown",
    "resume",
];

/// A request whose client has a token.
pub(super) struct StateRequest {
    pub(super) state: Arc<StateInner>,
    pub(super) operation: Operation,
    /// From its parameters and its `If-Match`.
    pub(super) how: Restore,
    pub(super) entry: AuditEntry,
    pub(super) token: UsedToken,
}

fn parse<B>(request: &Request<B>) -> Result<(Operation, Restore), Answer> {
    let parameters = match *request.method() {
        Method::GET | Method::OPTIONS => GET,
        Method::HEAD => HEAD,
        Method::POST => POST,
        _ => return Err(Answer::method_not_allowed(METHODS)),
    };
    let bad_query = |bad: BadQuery| Answer::bad_query(&bad, parameters);
    let query = request.uri().query().unwrap_or_default();
    let query = Query::parse(query, parameters).map_err(bad_query)?;
    let flag = |name| flag(&query, name).map_err(bad_query);
    let mut how = Restore {
        expected_generation: expected_generation(request.headers())?,
        ..Restore::new()
    };
    let operation = match *request.method() {
        Method::HEAD => Operation::MEASURE,
        Method::POST => {
            how.dry_run = flag("dry_run")?;
            how.force = flag("force")?;
            how.allow_missing = flag("allow_missing")?;
            how.allow_unknown = flag("allow_unknown")?;
            if flag("resume")? {
                Operation::RESUME
            } else {
                how.operation()
            }
        }
        _ if flag("fence")? => Operation::HAND_OVER,
        _ => Operation::CAPTURE,
    };
    Ok((operation, how))
}

fn flag(query: &Query<'_>, name: &str) -> Result<bool, BadQuery> {
    match query.get(name) {
        None | Some("0" | "false") => Ok(false),
        Some("" | "1" | "true") => Ok(true),
        Some(_) => Err(BadQuery::new(format!("{name}: is neither 1 nor 0"))),
    }
}

/// Reads `If-Match: "7"`. A generation is not a digest of the state, but it is what a client can
/// expect.
fn expected_generation(headers: &HeaderMap) -> Result<Option<u64>, Answer> {
    let text = headers
        .get(IF_MATCH)
        .map(|it| it.to_str().unwrap_or_default());
    let Some(text) = text.map(str::trim).filter(|text| *text != "*") else {
        return Ok(None);
    };
    let quoted = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let generation = quoted.unwrap_or(text).parse();
    generation.map(Some).map_err(|_| {
        let text = "if-match: is not one generation, such as \"7\"";
        Answer::problem(StatusCode::BAD_REQUEST, text)
    })
}

impl StateService {
    /// Returns whether a request would change something: it restores, or it closes or opens the
    /// fence. For an endpoint that mounts the service and audits changes.
    #[must_use]
    pub fn changes(method: &Method, uri: &Uri) -> bool {
        let query = || Query::parse(uri.query().unwrap_or_default(), GET);
        // A query that cannot be read is refused.
        let closes = || query().is_ok_and(|query| flag(&query, "fence") == Ok(true));
        *method == Method::POST || (*method == Method::GET && closes())
    }
}

/// Decides by the head of the request. A client without a token learns nothing else.
pub(super) fn authorize<B>(
    state: &Arc<StateInner>,
    request: &Request<B>,
) -> Result<StateRequest, Answer> {
    let token = shown(&state.tokens, request.headers());
    let audit = |operation| {
        let peer = request.extensions().get().cloned();
        let recorder = &state.settings.recorder;
        AuditEntry::new(recorder, operation, token.unwrap_or("nobody"), peer)
    };
    let reject = |answer: Answer, operation: Operation, outcome: Outcome| {
        audit(operation).end(outcome);
        answer.with_allow(METHODS)
    };
    // The audit has the operation also for those who may not, as far as it is known.
    let likely = match *request.method() {
        Method::POST => Operation::RESTORE,
        Method::HEAD => Operation::MEASURE,
        _ => Operation::CAPTURE,
    };
    let Some(token) = token else {
        let answer = not_authorized(state);
        return Err(reject(answer, likely, Outcome::UNAUTHORIZED));
    };
    let parsed = parse(request);
    let (operation, how) = parsed.map_err(|answer| reject(answer, likely, Outcome::REJECTED))?;
    if *request.method() == Method::OPTIONS {
        return Err(without_effect(state, how).with_allow(METHODS));
    }
    if matches!(operation, Operation::RESTORE | Operation::DRY_RUN) {
        check_type(request.headers())
            .map_err(|answer| reject(answer, operation, Outcome::REJECTED))?;
        check_restore(state, request.headers(), how)
            .map_err(|error| reject(problem(&error), operation, error.kind().outcome()))?;
    }
    Ok(StateRequest {
        state: Arc::clone(state),
        operation,
        how,
        entry: audit(operation),
        token: UsedToken::new(token),
    })
}

/// Returns the name of the token in `Authorization: Bearer …` (RFC 6750).
pub(super) fn shown(tokens: &Tokens, headers: &HeaderMap) -> Option<&'static str> {
    let given = TokenDigest::from_headers(headers)?;
    // All are compared, so that the time does not reveal which one it was.
    tokens.iter().fold(None, |found, (name, token)| {
        let shown = token.has(&given).then_some(*name);
        found.or(shown)
    })
}

fn not_authorized(state: &StateInner) -> Answer {
    if state.tokens.is_empty() {
        let text = format!(
            "the state is closed, as no token is configured: set {} to one of 16 characters or more",
            state.settings.token_variable
        );
        return Answer::problem(StatusCode::NOT_FOUND, &text);
    }
    Answer::problem(
        StatusCode::UNAUTHORIZED,
        "a bearer token is needed: authorization: Bearer <token>",
    )
}

/// Answers OPTIONS: what GET would be answered, as far as that is known without doing it.
fn without_effect(state: &StateInner, how: Restore) -> Answer {
    let possible = state.check_participants();
    let possible = possible.and_then(|()| state.permit().map(drop));
    let possible = possible.and_then(|()| state.check_generation(how.expected_generation));
    possible.map_or_else(|error| problem(&error), |()| Answer::ok(&()))
}

fn check_type(headers: &HeaderMap) -> Result<(), Answer> {
    let is_json = |header: &HeaderValue| {
        let text = header.to_str().unwrap_or_default();
        let kind = text.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    };
    let unsupported = |text| Err(Answer::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    if !headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return unsupported("content-type: has to be application/json");
    }
    let has_gzip = cfg!(feature = "compression");
    match &*codings(headers, CONTENT_ENCODING) {
        [] => Ok(()),
        [one] if one == "gzip" && has_gzip => Ok(()),
        _ if has_gzip => unsupported("content-encoding: has to be gzip or identity"),
        _ => unsupported("content-encoding: has to be identity"),
    }
}

fn check_restore(state: &StateInner, headers: &HeaderMap, how: Restore) -> StateResult<()> {
    let limit = state.settings.max_size;
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Also for a compressed body, which becomes larger.
    if length.is_some_and(|length| length > limit) {
        return Err(StateError::too_large(limit));
    }
    // Over the network, a condition that is not configured does not allow it.
    if !how.dry_run && !how.force && state.settings.restore_when.is_none() {
        return Err(ErrorKind::NotNow.error(
            "nothing allows a restore of this instance: restore with ?force=1, or configure \
             restore_when",
        ));
    }
    state.check_time(how)
}

/// Returns whether the client takes gzip, and does not prefer plain text. Only gzip is offered: the
/// windows of other encodings would let a few bytes of a request claim megabytes.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers, ACCEPT_ENCODING);
    let names = ["gzip", "x-gzip", "*"];
    let weight = names.iter().find_map(|name| accept.weight(name));
    let weight = weight.unwrap_or(0);
    cfg!(feature = "compression") && weight > 0 && weight >= accept.named("identity")
}
