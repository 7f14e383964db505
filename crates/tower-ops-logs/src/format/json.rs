//! One flat object, the same keys in the same order in every line.

use tracing::Level;

use super::{IdPlace, Line, Memory, Style, TARGET, push};
use crate::escape::{Escape, Notation};
use crate::ids::Ids;

pub(super) fn write(line: &Line<'_>, memory: &mut Memory, out: &mut Vec<u8>) -> IdPlace {
    let mut at = *b"{\"timestamp\":\"0000-00-00T00:00:00.000000Z";
    at[14..].copy_from_slice(&memory.dates.text(line.at));
    out.extend_from_slice(&at);
    match line.head {
        Some(head) => out.extend_from_slice(head),
        None => out.extend_from_slice(&head(line.level, line.target)),
    }
    push(out, &[line.message, b"\""]);
    let id = memory.ids.push(line.ids, out);
    line.push_fields(out);
    if line.fields.is_cut {
        out.extend_from_slice(b",\"truncated\":true");
    }
    out.push(b'}');
    id
}

/// Returns what stands between the time and the message.
pub(crate) fn head(level: Level, target: &str) -> Vec<u8> {
    let mut head = Vec::new();
    push(
        &mut head,
        &[
            b"\",\"level\":\"",
            level.as_str().as_bytes(),
            b"\",\"target\":\"",
        ],
    );
    Escape::new(&mut head, Notation::Json, TARGET).push(target);
    head.extend_from_slice(b"\",\"message\":\"");
    head
}

/// The ids of the last line, as text: the next one of a thread is often of the same exchange.
#[derive(Debug, Default)]
pub(crate) struct IdsText {
    ids: Ids,
    text: Vec<u8>,
    /// In the text.
    place: IdPlace,
}

impl IdsText {
    fn push(&mut self, ids: &Ids, out: &mut Vec<u8>) -> IdPlace {
        if self.ids != *ids {
            self.render(ids);
        }
        let begin = out.len();
        out.extend_from_slice(&self.text);
        IdPlace {
            // A line is shorter.
            begin: self.place.begin + begin as u16,
            ..self.place
        }
    }

    fn render(&mut self, ids: &Ids) {
        self.ids.clear();
        self.ids.add(ids);
        self.text.clear();
        self.place = IdPlace::default();
        if !ids.request_id.is_empty() {
            self.text.extend_from_slice(b",\"request_id\":\"");
            self.place = ids.push_request_id(Style::Json, &mut self.text);
            self.text.push(b'"');
        }
        if ids.trace_id != 0 {
            push_trace(ids, &mut self.text);
        }
    }
}

fn push_trace(ids: &Ids, out: &mut Vec<u8>) {
    let mut trace = *b",\"trace_id\":\"00000000000000000000000000000000\"";
    trace[13..45].copy_from_slice(&ids.trace_id_hex());
    out.extend_from_slice(&trace);
    if ids.span_id != 0 {
        let mut span = *b",\"span_id\":\"0000000000000000\"";
        span[12..28].copy_from_slice(&ids.span_id_hex());
        out.extend_from_slice(&span);
    }
    if let Some(digits) = ids.flags_hex() {
        let mut flags = *b",\"trace_flags\":\"00\"";
        flags[16..18].copy_from_slice(&digits);
        out.extend_from_slice(&flags);
    }
}
