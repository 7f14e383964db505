//! How a line looks.

use std::fmt;
use std::str::FromStr;

use tracing::Level;

use crate::escape::{Escape, Notation};
use crate::fields::Fields;
use crate::fields::access::Access;
use crate::ids::Ids;
use crate::stamp::{Dates, Stamp};

mod ecs;
mod gcp;
pub(crate) mod json;
mod text;

/// The most bytes of a line, with the newline at its end.
pub const MAX_LINE: usize = 16 * 1024 - 1;
/// The most bytes of a message, as it stands in a line.
pub(crate) const MESSAGE: usize = 4 * 1024;
/// The most bytes of the constant fields of a line.
pub(crate) const CONSTANTS: usize = 1024;
/// The most bytes of a target, as it stands in a line.
const TARGET: usize = 256;
/// The most bytes of a request id, as it stands in a line.
const REQUEST_ID: usize = 256;

/// What a line of the log is.
///
/// # Examples
///
/// ```
/// use tower_ops_logs::Format;
///
/// assert_eq!("json".parse(), Ok(Format::Json));
/// assert_eq!(Format::Gcp.as_str(), "gcp");
/// assert!("xml".parse::<Format>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A line of text for people, with colours if it goes to a terminal.
    #[default]
    Text,
    /// A JSON object. Its members are `timestamp`, `level`, `target`, `message`, then `request_id`,
    /// `trace_id`, `span_id` and `trace_flags` as far as they are known, then all fields.
    Json,
    /// A JSON object by the Elastic Common Schema, with all fields under `labels`.
    Ecs,
    /// A JSON object as Google Cloud Logging reads it, with `severity`, `httpRequest` and
    /// `logging.googleapis.com/trace`.
    Gcp,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Text, Self::Json, Self::Ecs, Self::Gcp];

    /// Returns the name by which `LOG_FORMAT` chooses it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Ecs => "ecs",
            Self::Gcp => "gcp",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is the name of no [`Format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownFormat;

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one of text, json, ecs and gcp")
    }
}

impl std::error::Error for UnknownFormat {}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Finds the format of that name, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| format.as_str().eq_ignore_ascii_case(text))
            .ok_or(UnknownFormat)
    }
}

/// A format, and whether it is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Json,
    Ecs,
    Gcp,
    Text,
    Color,
}

impl Style {
    pub(crate) const COUNT: usize = 5;

    pub(crate) const fn new(format: Format, color: bool) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Ecs => Self::Ecs,
            Format::Gcp => Self::Gcp,
            Format::Text if color => Self::Color,
            Format::Text => Self::Text,
        }
    }

    pub(crate) const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Ecs | Self::Gcp)
    }

    pub(crate) const fn notation(self) -> Notation {
        if self.is_json() {
            Notation::Json
        } else {
            Notation::Text
        }
    }

    /// Returns whether it has places of its own for what an access event knows.
    pub(crate) const fn groups_access(self) -> bool {
        matches!(self, Self::Ecs | Self::Gcp)
    }
}

/// What stands in a line. The texts are rendered in its style.
pub(crate) struct Line<'a> {
    pub(crate) at: Stamp,
    /// Its level and its target as JSON, if they are at hand.
    pub(crate) head: Option<&'a [u8]>,
    pub(crate) level: Level,
    pub(crate) target: &'a str,
    pub(crate) message: &'a [u8],
    pub(crate) ids: &'a Ids,
    /// Those of every line.
    pub(crate) constants: &'a Fields,
    pub(crate) fields: &'a Fields,
    pub(crate) access: Option<&'a Access>,
    /// The project whose traces a GCP line links to.
    pub(crate) project: Option<&'a str>,
}

/// What a thread keeps from line to line.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    dates: Dates,
    ids: json::IdsText,
}

/// Where a request id stands in its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdPlace {
    pub(crate) begin: u16,
    pub(crate) length: u16,
}

impl Line<'_> {
    /// Appends the line, with a newline at its end.
    pub(crate) fn write(&self, style: Style, memory: &mut Memory, out: &mut Vec<u8>) -> IdPlace {
        let id = match style {
            Style::Json => json::write(self, memory, out),
            Style::Ecs => ecs::write(self, &mut memory.dates, out),
            Style::Gcp => gcp::write(self, &mut memory.dates, out),
            Style::Text => text::write(self, &mut memory.dates, out, false),
            Style::Color => text::write(self, &mut memory.dates, out, true),
        };
        out.push(b'\n');
        id
    }

    fn push_target(&self, style: Style, out: &mut Vec<u8>) {
        Escape::new(out, style.notation(), TARGET).push(self.target);
    }

    /// Appends the constant fields, unless the event or a span has one of that name, and all others.
    fn push_fields(&self, out: &mut Vec<u8>) {
        if !self.constants.is_empty() {
            let push = |field: &[u8]| out.extend_from_slice(field);
            self.constants.for_each_but(self.fields, push);
        }
        out.extend_from_slice(self.fields.as_bytes());
    }
}

impl Ids {
    /// Appends the request id.
    fn push_request_id(&self, style: Style, out: &mut Vec<u8>) -> IdPlace {
        let begin = out.len();
        Escape::new(out, style.notation(), REQUEST_ID).push_bytes(&self.request_id);
        // A line is shorter.
        IdPlace {
            begin: u16::try_from(begin).unwrap_or(0),
            length: u16::try_from(out.len() - begin).unwrap_or(0),
        }
    }
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
