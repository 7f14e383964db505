//! What an access event knows, for formats that have places of their own for it.

use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;

use super::{Value, push_u64};
use crate::format::Style;

/// A field of an access event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessField {
    Method,
    Path,
    Status,
    BytesIn,
    BytesOut,
    Client,
    UserAgent,
}

const FIELDS: usize = 7;

impl AccessField {
    fn of(name: &str) -> Option<Self> {
        match name {
            "method" => Some(Self::Method),
            "path" => Some(Self::Path),
            "status" => Some(Self::Status),
            "bytes_in" => Some(Self::BytesIn),
            "bytes_out" => Some(Self::BytesOut),
            "peer" => Some(Self::Client),
            "user_agent" => Some(Self::UserAgent),
            _ => None,
        }
    }
}

/// The fields of an access event that ECS and GCP name themselves.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// As JSON.
    values: Vec<u8>,
    places: [Range<usize>; FIELDS],
    pub(crate) duration_ms: Option<f64>,
    pub(crate) is_cut: bool,
}

impl Access {
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.places = Default::default();
        (self.duration_ms, self.is_cut) = (None, false);
    }

    pub(crate) const fn len(&self) -> usize {
        self.values.len()
    }

    /// Takes a field, if it is one of these. All of them together have that much room.
    pub(crate) fn take(&mut self, name: &str, value: Value<'_>, room: usize) -> bool {
        if name == "duration_ms" {
            self.duration_ms = match value {
                Value::F64(ms) => Some(ms).filter(|ms| ms.is_finite() && *ms >= 0.0),
                Value::U64(ms) => Some(ms as f64),
                _ => None,
            };
            return self.duration_ms.is_some();
        }
        let Some(field) = AccessField::of(name) else {
            return false;
        };
        let begin = self.values.len();
        self.is_cut |= value.render(&mut self.values, Style::Json);
        if self.values.len() > room {
            self.values.truncate(begin);
            self.is_cut = true;
        }
        self.places[field as usize] = begin..self.values.len();
        true
    }

    /// Returns the client's address without its port, as JSON: both formats want that alone.
    pub(crate) fn client(&self) -> Option<Vec<u8>> {
        let client = self.get(AccessField::Client)?;
        let text = str::from_utf8(client).ok()?.trim_matches('"');
        Some(match text.parse::<SocketAddr>() {
            Ok(addr) => format!("\"{}\"", addr.ip()).into_bytes(),
            Err(_) => client.to_vec(),
        })
    }

    /// Returns a value as JSON.
    pub(crate) fn get(&self, field: AccessField) -> Option<&[u8]> {
        let place = self.places[field as usize].clone();
        self.values.get(place).filter(|value| !value.is_empty())
    }

    /// Appends the duration in nanoseconds.
    pub(crate) fn push_nanos(&self, out: &mut Vec<u8>) {
        push_u64(out, (self.duration_ms.unwrap_or(0.0) * 1e6) as u64);
    }

    /// Appends the duration in seconds, such as `0.5`.
    pub(crate) fn push_seconds(&self, out: &mut Vec<u8>) {
        // Writing to a vector does not fail.
        let _ = write!(out, "{}", self.duration_ms.unwrap_or(0.0) / 1e3);
    }
}
