//! What becomes of a field, by its name: found out once for each call site and thread.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ptr;

use tracing::Metadata;
use tracing::callsite::Identifier;

use super::{KEY, Key, PREFIX, push_key};
use crate::format::{Style, json};
use crate::ids::IdField;

/// Where a field belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An event's message; of a span a field.
    Message,
    /// An id, if it is one.
    Id(IdField),
    Field,
}

/// A name, and how its field begins in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    style: Style,
    pub(crate) place: Place,
    pub(crate) key: Key<'static>,
    begin: [u8; Self::BEGIN],
    /// 0 if there is no room for it.
    length: u8,
}

impl Name {
    const BEGIN: usize = 40;

    pub(crate) fn new(name: &'static str, style: Style) -> Self {
        let key = Key::new(name, style);
        let place = match IdField::of(name) {
            Some(id) => Place::Id(id),
            None if name == "message" => Place::Message,
            None => Place::Field,
        };
        let mut text = Vec::with_capacity(Self::BEGIN);
        push_key(&mut text, key, style);
        let mut begin = [0; Self::BEGIN];
        let mut length = 0;
        if let Some(begin) = begin.get_mut(..text.len()) {
            begin.copy_from_slice(&text);
            length = text.len() as u8;
        }
        Self {
            style,
            place,
            key,
            begin,
            length,
        }
    }

    /// Appends what stands before the value.
    pub(super) fn push_begin(&self, out: &mut Vec<u8>) {
        if self.length == 0 {
            push_key(out, self.key, self.style);
        } else {
            // Of a fixed length, so that no function is called for a few bytes.
            let end = out.len() + usize::from(self.length);
            out.extend_from_slice(&self.begin);
            out.truncate(end);
        }
    }
}

/// The target of the events that tower-ops-trace makes of whole exchanges.
pub(crate) const ACCESS: &str = "tower_ops::access";

/// What is the same in all lines of a call site.
#[derive(Debug)]
pub(crate) struct Site {
    /// The names of its fields, in their order.
    pub(crate) names: Box<[Name]>,
    /// Its level and its target, as they begin a line of JSON.
    pub(crate) head: Box<[u8]>,
    /// Whether it logs whole exchanges, as tower-ops-trace does.
    pub(crate) is_access: bool,
    /// Whether the ids among its fields are those of the exchange that it is about, and not those
    /// that a handler adds in one.
    pub(crate) knows_its_ids: bool,
}

/// The call sites that have logged on a thread.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    all: Vec<Site>,
    of_style: [HashMap<Identifier, usize, BuildHasherDefault<Address>>; Style::COUNT],
    /// The latest of each place, which is found without a search.
    latest: [Option<Latest>; LATEST],
}

const LATEST: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Latest {
    metadata: &'static Metadata<'static>,
    style: Style,
    index: usize,
}

impl Sites {
    #[inline]
    pub(crate) fn get(&mut self, metadata: &'static Metadata<'static>, style: Style) -> &Site {
        let mut address = Address::default();
        address.write_usize(ptr::from_ref(metadata).addr());
        let place = (address.finish() >> 16) as usize % LATEST;
        let index = match self.latest[place] {
            Some(it) if ptr::eq(it.metadata, metadata) && it.style == style => it.index,
            _ => self.find(place, metadata, style),
        };
        &self.all[index]
    }

    #[inline(never)]
    fn find(&mut self, place: usize, metadata: &'static Metadata<'static>, style: Style) -> usize {
        let index = self.of_style[style as usize].entry(metadata.callsite());
        let index = *index.or_insert_with(|| {
            let fields = metadata.fields().iter();
            self.all.push(Site {
                is_access: metadata.target() == ACCESS,
                knows_its_ids: metadata.target().starts_with("tower_ops"),
                names: fields.map(|field| Name::new(field.name(), style)).collect(),
                head: json::head(*metadata.level(), metadata.target()).into(),
            });
            self.all.len() - 1
        });
        self.latest[place] = Some(Latest {
            metadata,
            style,
            index,
        });
        index
    }
}

/// A hash of what is an address, and differs in its middle.
#[derive(Default)]
pub(crate) struct Address(u64);

impl Hasher for Address {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, number: usize) {
        self.0 = (self.0.rotate_left(5) ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_usize(number.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl<'a> Key<'a> {
    /// Returns the key of a field of that name: cut, and with the prefix if it is reserved.
    fn new(name: &'a str, style: Style) -> Self {
        let name = name.strip_prefix("r#").unwrap_or(name);
        let is_prefixed = is_reserved(name, style);
        let mut length = if is_prefixed { KEY - PREFIX.len() } else { KEY }.min(name.len());
        while !name.is_char_boundary(length) {
            length -= 1;
        }
        let text = &name[..length];
        // FNV-1a.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            text,
            is_prefixed,
            bit: (hash >> 58) as u8,
        }
    }
}

/// Returns whether a key would stand beside the line's own one, or look like one with a prefix.
pub(crate) fn is_reserved(name: &str, style: Style) -> bool {
    match name {
        "timestamp" | "level" | "target" | "message" | "request_id" | "trace_id" | "span_id"
        | "trace_flags" | "truncated" => true,
        "severity" | "time" | "httpRequest" => style == Style::Gcp,
        _ if name.starts_with(PREFIX) => true,
        _ => style == Style::Gcp && name.starts_with("logging.googleapis.com/"),
    }
}
