//! A line for people: the time, the level, the target, the message, the fields, and the ids last.

use tracing::Level;

use super::{IdPlace, Line, Style, push};
use crate::stamp::Dates;

const DIM: &[u8] = b"\x1b[2m";
const PLAIN: &[u8] = b"\x1b[0m";

pub(super) fn write(
    line: &Line<'_>,
    dates: &mut Dates,
    out: &mut Vec<u8>,
    in_color: bool,
) -> IdPlace {
    let (dim, plain, style) = if in_color {
        (DIM, PLAIN, Style::Color)
    } else {
        (&b""[..], &b""[..], Style::Text)
    };
    out.extend_from_slice(dim);
    if in_color {
        // On a terminal somebody watches, who knows the day.
        dates.push_time(line.at, out);
    } else {
        dates.push(line.at, out);
    }
    let (color, level) = level(line.level);
    let color = if in_color { color } else { b"" };
    push(out, &[plain, b" ", color, level, plain, b" ", dim]);
    line.push_target(style, out);
    push(out, &[b":", plain]);
    if !line.message.is_empty() {
        push(out, &[b" ", line.message]);
    }
    line.push_fields(out);
    if line.fields.is_cut {
        out.extend_from_slice(b" truncated=true");
    }
    let mut id = IdPlace::default();
    if !line.ids.request_id.is_empty() {
        push(out, &[dim, b" request_id="]);
        id = line.ids.push_request_id(style, out);
        out.extend_from_slice(plain);
    }
    let ids = line.ids;
    if ids.trace_id != 0 {
        push(out, &[dim, b" trace_id=", &ids.trace_id_hex()]);
        if ids.span_id != 0 {
            push(out, &[b" span_id=", &ids.span_id_hex()]);
        }
        if let Some(flags) = ids.flags_hex() {
            push(out, &[b" trace_flags=", &flags]);
        }
        out.extend_from_slice(plain);
    }
    id
}

const fn level(level: Level) -> (&'static [u8], &'static [u8]) {
    match level {
        Level::ERROR => (b"\x1b[1;31m", b"ERROR"),
        Level::WARN => (b"\x1b[33m", b" WARN"),
        Level::INFO => (b"\x1b[32m", b" INFO"),
        Level::DEBUG => (b"\x1b[34m", b"DEBUG"),
        Level::TRACE => (b"\x1b[35m", b"TRACE"),
    }
}
