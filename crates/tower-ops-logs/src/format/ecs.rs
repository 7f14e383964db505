//! The Elastic Common Schema, version 8: `log.level` as one key, as its logging libraries write it,
//! everything else nested, what the application adds under `labels`.

use tracing::Level;

use super::{IdPlace, Line, Style, push};
use crate::fields::access::{Access, AccessField};
use crate::stamp::Dates;

pub(super) fn write(line: &Line<'_>, dates: &mut Dates, out: &mut Vec<u8>) -> IdPlace {
    out.extend_from_slice(b"{\"@timestamp\":\"");
    dates.push(line.at, out);
    push(out, &[b"\",\"log.level\":\"", level(line.level)]);
    push(out, &[b"\",\"message\":\"", line.message]);
    out.extend_from_slice(b"\",\"ecs.version\":\"8.11\",\"log\":{\"logger\":\"");
    line.push_target(Style::Ecs, out);
    out.extend_from_slice(b"\"}");
    let ids = line.ids;
    if ids.trace_id != 0 {
        push(
            out,
            &[b",\"trace\":{\"id\":\"", &ids.trace_id_hex(), b"\"}"],
        );
        if ids.span_id != 0 {
            push(out, &[b",\"span\":{\"id\":\"", &ids.span_id_hex(), b"\"}"]);
        }
    }
    let id = http(line, out);
    if let Some(access) = line.access {
        others(access, out);
    }
    labels(line, out);
    out.push(b'}');
    id
}

const fn level(level: Level) -> &'static [u8] {
    match level {
        Level::ERROR => b"error",
        Level::WARN => b"warn",
        Level::INFO => b"info",
        Level::DEBUG => b"debug",
        Level::TRACE => b"trace",
    }
}

/// Appends what is known of the request and of the response.
fn http(line: &Line<'_>, out: &mut Vec<u8>) -> IdPlace {
    let mut id = IdPlace::default();
    let get = |field| line.access.and_then(|access| access.get(field));
    let all = Members::begin(out, b",\"http\":{");
    let request = Members::begin(out, b"\"request\":{");
    if !line.ids.request_id.is_empty() {
        out.extend_from_slice(b"\"id\":\"");
        id = line.ids.push_request_id(Style::Ecs, out);
        out.extend_from_slice(b"\",");
    }
    if let Some(method) = get(AccessField::Method) {
        push(out, &[b"\"method\":", method, b","]);
    }
    if let Some(bytes) = get(AccessField::BytesIn) {
        push(out, &[b"\"body\":{\"bytes\":", bytes, b"},"]);
    }
    request.end(out, b"},");
    let response = Members::begin(out, b"\"response\":{");
    if let Some(status) = get(AccessField::Status) {
        push(out, &[b"\"status_code\":", status, b","]);
    }
    if let Some(bytes) = get(AccessField::BytesOut) {
        push(out, &[b"\"body\":{\"bytes\":", bytes, b"},"]);
    }
    response.end(out, b"},");
    all.end(out, b"}");
    id
}

/// The members of an object, each with a comma after it. Without any the object goes away.
struct Members {
    begin: usize,
    first: usize,
}

impl Members {
    fn begin(out: &mut Vec<u8>, head: &[u8]) -> Self {
        let begin = out.len();
        out.extend_from_slice(head);
        Self {
            begin,
            first: out.len(),
        }
    }

    fn end(self, out: &mut Vec<u8>, end: &[u8]) {
        if out.len() == self.first {
            out.truncate(self.begin);
        } else {
            out.pop();
            out.extend_from_slice(end);
        }
    }
}

fn others(access: &Access, out: &mut Vec<u8>) {
    if access.duration_ms.is_some() {
        out.extend_from_slice(b",\"event\":{\"duration\":");
        access.push_nanos(out);
        out.push(b'}');
    }
    if let Some(path) = access.get(AccessField::Path) {
        push(out, &[b",\"url\":{\"path\":", path, b"}"]);
    }
    if let Some(client) = access.client() {
        push(out, &[b",\"client\":{\"address\":", &client, b"}"]);
    }
    if let Some(agent) = access.get(AccessField::UserAgent) {
        push(out, &[b",\"user_agent\":{\"original\":", agent, b"}"]);
    }
}

fn labels(line: &Line<'_>, out: &mut Vec<u8>) {
    let begin = out.len();
    line.push_fields(out);
    if line.fields.is_cut {
        out.extend_from_slice(b",\"truncated\":true");
    }
    if out.len() > begin {
        // In place of the comma before the first one.
        out.splice(begin..=begin, *b",\"labels\":{");
        out.push(b'}');
    }
}
