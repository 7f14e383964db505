//! What `tracing` shows of a span or an event, put where it belongs.

use std::error::Error;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};

use super::access::Access;
use super::name::{Name, Place};
use super::{FIELDS, Fields, Value, push_f64, push_i64, push_plain, push_u64};
use crate::escape::Escape;
use crate::format::{MESSAGE, Style};
use crate::ids::{IdField, Ids, Taken};

/// Sorts the fields of a span or an event.
pub(crate) struct Sorter<'a> {
    pub(crate) style: Style,
    /// Those of the call site's fields.
    pub(crate) names: &'a [Name],
    pub(crate) fields: &'a mut Fields,
    pub(crate) ids: &'a mut Ids,
    /// That of an event.
    pub(crate) message: Option<&'a mut Vec<u8>>,
    /// Of an access event, where the format groups what it knows.
    pub(crate) access: Option<&'a mut Access>,
}

impl<'a> Sorter<'a> {
    /// Returns the name of a field that is nothing else, as nearly all are.
    #[inline]
    fn only_field(&self, field: &Field) -> Option<&'a Name> {
        let name = self.names.get(field.index())?;
        (name.place == Place::Field && self.access.is_none()).then_some(name)
    }

    /// Sorts a field of any kind.
    fn sort(&mut self, field: &Field, value: Value<'_>) {
        let style = self.style;
        // The fields are those of the call site.
        let Some(name) = self.names.get(field.index()) else {
            return;
        };
        if let Some(access) = self.access.as_deref_mut()
            && access.take(field.name(), value, FIELDS - self.fields.bytes.len())
        {
            self.fields.elsewhere = access.len();
            self.fields.is_cut |= access.is_cut;
            return;
        }
        match name.place {
            Place::Field => {}
            Place::Message => {
                if let Some(message) = self.message.as_deref_mut()
                    && message.is_empty()
                {
                    let mut escape = Escape::new(message, style.notation(), MESSAGE);
                    value.write(&mut escape);
                    self.fields.is_cut |= escape.is_cut();
                    return;
                }
            }
            Place::Id(id) => {
                if self.take_id(id, value) {
                    return;
                }
            }
        }
        self.fields.put(name, |out| value.render(out, style));
    }

    fn take_id(&mut self, id: IdField, value: Value<'_>) -> bool {
        match value {
            Value::Str(text) => self.ids.take(id, text) == Taken::AsId,
            Value::Debug(value) => {
                let mut text = ShortText::default();
                let text = text.format(value);
                text.is_some_and(|text| self.ids.take(id, text) == Taken::AsId)
            }
            _ => false,
        }
    }

    /// Returns an event's message, if that is what the field is, and none is there yet.
    #[inline]
    fn message_of(&mut self, field: &Field) -> Option<&mut Vec<u8>> {
        let name = self.names.get(field.index())?;
        let message = self.message.as_deref_mut()?;
        (name.place == Place::Message && message.is_empty()).then_some(message)
    }
}

impl Visit for Sorter<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.only_field(field) {
            Some(name) if value.is_finite() => self.fields.put(name, |out| {
                push_f64(out, value);
                false
            }),
            _ => self.sort(field, Value::F64(value)),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match self.only_field(field) {
            Some(name) => self.fields.put(name, |out| {
                push_i64(out, value);
                false
            }),
            None => self.sort(field, Value::I64(value)),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match self.only_field(field) {
            Some(name) => self.fields.put(name, |out| {
                push_u64(out, value);
                false
            }),
            None => self.sort(field, Value::U64(value)),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.sort(field, Value::I128(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.sort(field, Value::U128(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.sort(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(name) = self.names.get(field.index())
            && let Place::Id(id) = name.place
            && self.ids.take(id, value) == Taken::AsId
        {
            return;
        }
        match self.only_field(field) {
            Some(name) => {
                let style = self.style;
                self.fields.put(name, |out| {
                    !push_plain(out, value, style) && Value::Str(value).render(out, style)
                });
            }
            None => self.sort(field, Value::Str(value)),
        }
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.sort(field, Value::Bytes(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.sort(field, Value::Error(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let style = self.style;
        if let Some(message) = self.message_of(field) {
            let mut escape = Escape::new(message, style.notation(), MESSAGE);
            // An error means that it was cut, or that the value is one that cannot be formatted.
            let _ = write!(escape, "{value:?}");
            self.fields.is_cut |= escape.is_cut();
        } else {
            self.sort(field, Value::Debug(value));
        }
    }
}

/// Text that is no longer than an id or an address.
struct ShortText {
    bytes: [u8; 128],
    length: usize,
}

impl Default for ShortText {
    fn default() -> Self {
        Self {
            bytes: [0; 128],
            length: 0,
        }
    }
}

impl ShortText {
    /// Returns the value's text, unless it is longer.
    fn format(&mut self, value: &dyn Debug) -> Option<&str> {
        write!(self, "{value:?}").ok()?;
        str::from_utf8(&self.bytes[..self.length]).ok()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
