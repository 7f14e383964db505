//! Zipkin's B3, in one header and in several.

use http::{HeaderMap, HeaderName, HeaderValue};
use tower_ops_observe::TraceIds;
use tower_ops_trace::Ratio;

const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

pub(super) const MULTI: [&str; 4] = ["x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"];

/// What a caller has decided. Without a word of it the decision is ours.
enum Decision {
    Sampled,
    NotSampled,
    Open,
}

/// `{trace}-{span}`, `{trace}-{span}-{decision}` or `{trace}-{span}-{decision}-{parent}`. A decision
/// alone has no context to continue.
pub(super) fn single(headers: &HeaderMap, ratio: Ratio) -> Option<TraceIds> {
    let mut parts = headers.get(SINGLE)?.to_str().ok()?.split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let decision = match parts.next() {
        None => Decision::Open,
        Some("1" | "d") => Decision::Sampled,
        Some("0") => Decision::NotSampled,
        Some(_) => return None,
    };
    if let Some(parent) = parts.next() {
        id(parent, &[16])?;
    }
    if parts.next().is_some() {
        return None;
    }
    ids(trace, span, &decision, ratio)
}

pub(super) fn multi(headers: &HeaderMap, ratio: Ratio) -> Option<TraceIds> {
    let get = |name| headers.get(name).map(HeaderValue::to_str).transpose().ok();
    // Debug implies the decision.
    let decision = match (get(FLAGS)?, get(SAMPLED)?) {
        (Some("1"), _) | (_, Some("1" | "true")) => Decision::Sampled,
        (_, Some("0" | "false")) => Decision::NotSampled,
        (_, None) => Decision::Open,
        (_, Some(_)) => return None,
    };
    ids(get(TRACE_ID)??, get(SPAN_ID)??, &decision, ratio)
}

fn ids(trace: &str, span: &str, decision: &Decision, ratio: Ratio) -> Option<TraceIds> {
    let trace = id(trace, &[16, 32])?;
    let span = u64::try_from(id(span, &[16])?).ok()?;
    let is_sampled = match decision {
        Decision::Sampled => true,
        Decision::NotSampled => false,
        Decision::Open => ratio.takes(trace),
    };
    TraceIds::new(trace, span, u8::from(is_sampled))
}

/// Lower-case digits only, and not zero.
fn id(digits: &str, lengths: &[usize]) -> Option<u128> {
    let is_hex = digits
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex || !lengths.contains(&digits.len()) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().filter(|&id| id != 0)
}

pub(super) fn set_single(ids: TraceIds, headers: &mut HeaderMap) {
    let sampled = u8::from(ids.is_sampled());
    let text = format!("{}-{}-{sampled}", ids.trace_id_hex(), ids.span_id_hex());
    set(headers, SINGLE, &text);
}

pub(super) fn set_multi(ids: TraceIds, headers: &mut HeaderMap) {
    set(headers, TRACE_ID, ids.trace_id_hex().as_str());
    set(headers, SPAN_ID, ids.span_id_hex().as_str());
    set(headers, SAMPLED, if ids.is_sampled() { "1" } else { "0" });
    // What a caller sent is passed on by nobody else: it would contradict the decision.
    headers.remove(FLAGS);
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
