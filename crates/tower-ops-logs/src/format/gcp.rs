//! What Google Cloud Logging finds in the output of a container, by its names.

use tracing::Level;

use super::{IdPlace, Line, Style, push};
use crate::fields::access::{Access, AccessField};
use crate::stamp::Dates;

pub(super) fn write(line: &Line<'_>, dates: &mut Dates, out: &mut Vec<u8>) -> IdPlace {
    out.extend_from_slice(b"{\"timestamp\":\"");
    dates.push(line.at, out);
    push(
        out,
        &[
            b"\",\"severity\":\"",
            severity(line.level),
            b"\",\"target\":\"",
        ],
    );
    line.push_target(Style::Gcp, out);
    push(out, &[b"\",\"message\":\"", line.message, b"\""]);
    let mut id = IdPlace::default();
    if !line.ids.request_id.is_empty() {
        out.extend_from_slice(b",\"request_id\":\"");
        id = line.ids.push_request_id(Style::Gcp, out);
        out.push(b'"');
    }
    let ids = line.ids;
    if ids.trace_id != 0 {
        out.extend_from_slice(b",\"logging.googleapis.com/trace\":\"");
        if let Some(project) = line.project {
            push(out, &[b"projects/", project.as_bytes(), b"/traces/"]);
        }
        out.extend_from_slice(&ids.trace_id_hex());
        if ids.span_id != 0 {
            out.extend_from_slice(b"\",\"logging.googleapis.com/spanId\":\"");
            out.extend_from_slice(&ids.span_id_hex());
        }
        out.push(b'"');
        if let Some(sampled) = ids.is_sampled() {
            let sampled: &[u8] = if sampled { b"true" } else { b"false" };
            push(
                out,
                &[b",\"logging.googleapis.com/trace_sampled\":", sampled],
            );
        }
    }
    if let Some(access) = line.access {
        http_request(access, out);
    }
    line.push_fields(out);
    if line.fields.is_cut {
        out.extend_from_slice(b",\"truncated\":true");
    }
    out.push(b'}');
    id
}

const fn severity(level: Level) -> &'static [u8] {
    match level {
        Level::ERROR => b"ERROR",
        Level::WARN => b"WARNING",
        Level::INFO => b"INFO",
        Level::DEBUG | Level::TRACE => b"DEBUG",
    }
}

fn http_request(access: &Access, out: &mut Vec<u8>) {
    let begin = out.len();
    for (field, name) in [
        (AccessField::Method, &b",\"requestMethod\":"[..]),
        (AccessField::Path, b",\"requestUrl\":"),
        (AccessField::Status, b",\"status\":"),
        (AccessField::UserAgent, b",\"userAgent\":"),
    ] {
        if let Some(value) = access.get(field) {
            push(out, &[name, value]);
        }
    }
    // Numbers of 64 bits are text there.
    for (field, name) in [
        (AccessField::BytesIn, &b",\"requestSize\":\""[..]),
        (AccessField::BytesOut, b",\"responseSize\":\""),
    ] {
        let value = access.get(field);
        if let Some(value) = value.filter(|value| value.iter().all(u8::is_ascii_digit)) {
            push(out, &[name, value, b"\""]);
        }
    }
    if let Some(client) = access.client() {
        push(out, &[b",\"remoteIp\":", &client]);
    }
    if access.duration_ms.is_some() {
        out.extend_from_slice(b",\"latency\":\"");
        access.push_seconds(out);
        out.extend_from_slice(b"s\"");
    }
    if out.len() > begin {
        // In place of the comma before the first one.
        out.splice(begin..=begin, *b",\"httpRequest\":{");
        out.push(b'}');
    }
}
