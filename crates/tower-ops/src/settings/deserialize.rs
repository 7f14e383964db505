//! A map in any format, whose problems are all found before one is an error.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::kind::Kind;
use super::table::TABLE;
use super::{Reading, Settings, find};

/// For formats and helpers that want to know the fields, such as `#[serde(flatten)]`.
const NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut row = 0;
    while row < names.len() {
        names[row] = TABLE[row].name;
        row += 1;
    }
    names
};

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("Settings", &NAMES, SettingsVisitor)
    }
}

struct SettingsVisitor;

impl<'de> Visitor<'de> for SettingsVisitor {
    type Value = Settings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
        let mut reading = Reading::new(str::to_owned);
        while let Some(name) = map.next_key::<String>()? {
            let Some(row) = find(&name) else {
                reading.unknown(&name, &name);
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            match map.next_value()? {
                Given::Nothing => {}
                Given::Text(text) => reading.set(row, &text),
                Given::List(items) if matches!(TABLE[row].kind, Kind::Networks(_)) => {
                    reading.set(row, &items.join(","));
                }
                Given::List(_) => reading.is_not(row, "a list"),
                Given::Table => reading.is_not(row, "a table"),
            }
        }
        reading.finish().map_err(Error::custom)
    }
}

impl Reading {
    fn is_not(&mut self, row: usize, given: &str) {
        let expected = TABLE[row].kind.expected();
        self.problem(row, &format!("{given} is not {expected}"));
    }
}

/// A value, as the environment would have it where it can be there.
enum Given {
    Nothing,
    Text(String),
    List(Vec<String>),
    Table,
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, a switch or a list")
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Given, E> {
        Ok(Given::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Given, E> {
        Ok(Given::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Given, E> {
        Ok(Given::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Given, E> {
        Ok(Given::Text(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Nothing)
    }

    fn visit_none<E>(self) -> Result<Given, E> {
        Ok(Given::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
        let mut items = Vec::new();
        let mut is_flat = true;
        while let Some(item) = list.next_element()? {
            match item {
                Given::Text(text) => items.push(text),
                Given::Nothing => {}
                Given::List(_) | Given::Table => is_flat = false,
            }
        }
        Ok(if is_flat {
            Given::List(items)
        } else {
            Given::Table
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Given::Table)
    }
}
