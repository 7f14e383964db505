//! The layer: from spans and events to lines.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use self::span::{InSpan, SpanLines};
use crate::fields::Fields;
use crate::fields::access::Access;
use crate::fields::name::Sites;
use crate::fields::visit::Sorter;
use crate::format::{Line, Memory, Style};
use crate::ids::Ids;
use crate::stamp::Stamp;
use crate::writer::Writer;
use crate::writer::queue::Queue;

mod span;

/// Writes each event as a line. Made by [`Logs::layer`](crate::Logs::layer), which filters it.
#[derive(Clone)]
pub struct LogsLayer {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) writer: Writer,
    pub(crate) style: Style,
    /// Fields of every line.
    pub(crate) constants: Fields,
    /// Fields of every line of the targets that begin so. The longest target first.
    pub(crate) of_targets: Vec<(Box<str>, Fields)>,
    pub(crate) project: Option<Box<str>>,
    owner: u32,
}

impl Shared {
    pub(crate) fn new(
        writer: Writer,
        style: Style,
        constants: Fields,
        of_targets: Vec<(Box<str>, Fields)>,
        project: Option<Box<str>>,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            writer,
            style,
            constants,
            of_targets,
            project,
            owner: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn constants(&self, target: &str) -> &Fields {
        let mut of_targets = self.of_targets.iter();
        let of_target = of_targets.find(|(begin, _)| target.starts_with(&**begin));
        of_target.map_or(&self.constants, |(_, fields)| fields)
    }
}

/// What a thread needs for a line, kept from line to line.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    message: Vec<u8>,
    fields: Fields,
    ids: Ids,
    access: Access,
    sites: Sites,
    memory: Memory,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Calls with that of the thread, or with another one where a value logs while it is formatted.
    fn with(act: impl FnOnce(&mut Self)) {
        let mut scratch = SCRATCH
            .try_with(Cell::take)
            .ok()
            .flatten()
            .unwrap_or_default();
        act(&mut scratch);
        let _ = SCRATCH.try_with(|slot| slot.set(Some(scratch)));
    }

    fn clear(&mut self) {
        self.line.clear();
        self.message.clear();
        self.fields.clear();
        self.ids.clear();
    }
}

impl LogsLayer {
    /// Renders what is recorded of a span; of a new one with the ids of the exchange around it.
    fn render(
        &self,
        lines: &mut SpanLines,
        metadata: &'static Metadata<'static>,
        is_new: bool,
        record: impl FnOnce(&mut Sorter<'_>),
    ) {
        let style = self.shared.style;
        Scratch::with(|scratch| {
            let site = scratch.sites.get(metadata, style);
            if is_new && !site.knows_its_ids {
                lines.ids.add_current();
            }
            record(&mut Sorter {
                style,
                names: &site.names,
                fields: &mut lines.fields,
                ids: &mut lines.ids,
                message: None,
                access: None,
            });
            if is_new && site.knows_its_ids {
                lines.ids.add_current();
            }
        });
    }

    fn write<S>(&self, scratch: &mut Scratch, event: &Event<'_>, cx: &Context<'_, S>)
    where
        S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    {
        let shared = &*self.shared;
        let metadata = event.metadata();
        let at = Stamp::now();
        scratch.clear();
        let site = scratch.sites.get(metadata, shared.style);
        let groups_access = site.is_access && shared.style.groups_access();
        if groups_access {
            scratch.access.clear();
        }
        if !site.knows_its_ids {
            scratch.ids.add_current();
        }
        event.record(&mut Sorter {
            style: shared.style,
            names: &site.names,
            fields: &mut scratch.fields,
            ids: &mut scratch.ids,
            message: Some(&mut scratch.message),
            access: groups_access.then_some(&mut scratch.access),
        });
        if site.knows_its_ids {
            scratch.ids.add_current();
        }
        let constants = shared.constants(metadata.target());
        let mut around = cx.event_span(event);
        while let Some(span) = around {
            around = span.parent();
            let extensions = span.extensions();
            let lines = extensions.get::<InSpan>();
            if let Some(lines) = lines.and_then(|lines| lines.of(shared.owner)) {
                scratch.ids.add(&lines.ids);
                // An access event knows itself what its span does.
                if !site.is_access {
                    let are_last = around.is_none() && constants.is_empty();
                    scratch.fields.add(&lines.fields, are_last);
                }
            }
        }
        let line = Line {
            at,
            head: Some(&site.head),
            level: *metadata.level(),
            target: metadata.target(),
            message: &scratch.message,
            ids: &scratch.ids,
            constants,
            fields: &scratch.fields,
            access: groups_access.then_some(&scratch.access),
            project: shared.project.as_deref(),
        };
        Queue::begin(&mut scratch.line);
        let id = line.write(shared.style, &mut scratch.memory, &mut scratch.line);
        shared
            .writer
            .push(*metadata.level(), at, &mut scratch.line, id);
    }
}

impl<S> Layer<S> for LogsLayer
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        // Nothing of others runs while the extensions are locked: a value may log.
        let mut lines = span::take(self.shared.owner);
        let metadata = attributes.metadata();
        self.render(&mut lines, metadata, true, |sorter| {
            attributes.record(sorter)
        });
        if lines.fields.is_empty() && lines.ids.is_empty() {
            span::give_back(lines);
            return;
        }
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<InSpan>() {
            Some(others) => *others.of_mut(self.shared.owner) = *lines,
            None => extensions.insert(InSpan(lines)),
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let owner = self.shared.owner;
        let mut news = span::take(owner);
        let known = span.extensions();
        if let Some(known) = known.get::<InSpan>().and_then(|lines| lines.of(owner)) {
            news.ids.add(&known.ids);
        }
        drop(known);
        self.render(&mut news, span.metadata(), false, |sorter| {
            values.record(sorter)
        });
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<InSpan>() {
            Some(known) => {
                let known = known.of_mut(owner);
                known.fields.replace(&news.fields);
                known.ids.add(&news.ids);
                span::give_back(news);
            }
            None => extensions.insert(InSpan(news)),
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        Scratch::with(|scratch| self.write(scratch, event, &cx));
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(&id) else { return };
        // The first layer of this kind takes it all: nobody logs in a span that is closed.
        let lines = span.extensions_mut().remove::<InSpan>();
        if let Some(InSpan(lines)) = lines {
            span::give_back(lines);
        }
    }
}

impl fmt::Debug for LogsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogsLayer")
            .field("style", &self.shared.style)
            .finish_non_exhaustive()
    }
}
