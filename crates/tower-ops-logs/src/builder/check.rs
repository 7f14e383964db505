//! What is wrong with the settings, all of it at once, and what comes of those that are right.

use std::cmp::Reverse;
use std::env;

use super::{Field, LogsBuilder, MIN_QUEUE, MIN_RING};
use crate::fields::name::is_reserved;
use crate::fields::{Fields, Value};
use crate::filter::{BareTargets, DEFAULT, Directives, FilterError};
use crate::format::{CONSTANTS, Format, Style};

/// What the environment sets.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) filter: Option<String>,
    pub(crate) format: Option<String>,
    pub(crate) gcp_project: Option<String>,
    pub(crate) no_color: bool,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        let get = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            filter: get("RUST_LOG"),
            format: get("LOG_FORMAT"),
            gcp_project: get("GOOGLE_CLOUD_PROJECT"),
            no_color: get("NO_COLOR").is_some() || get("TERM").as_deref() == Some("dumb"),
        }
    }
}

/// What comes of the settings, as far as they are valid.
pub(super) struct Checked {
    pub(super) style: Style,
    pub(super) filter: Directives,
    pub(super) constants: Fields,
    pub(super) of_targets: Vec<(Box<str>, Fields)>,
    pub(super) project: Option<Box<str>>,
}

impl LogsBuilder {
    pub(super) fn check(&self, environment: Environment) -> (Checked, Vec<String>) {
        let mut problems = Vec::new();
        let color = self
            .color
            .unwrap_or_else(|| !environment.no_color && self.output.is_terminal());
        let style = Style::new(self.checked_format(&environment, &mut problems), color);
        let filter = self.checked_filter(&environment, &mut problems);
        let (constants, of_targets) = self.checked_fields(style, &mut problems);
        let project = environment.gcp_project.or_else(|| self.gcp_project.clone());
        let is_project = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
        if project.as_ref().is_some_and(|project| {
            project.is_empty() || project.len() > 64 || !project.chars().all(is_project)
        }) {
            problems.push("gcp_project: not the id of a project, such as orders-42".to_owned());
        }
        if self.queue < MIN_QUEUE {
            problems.push(format!("queue: less than {MIN_QUEUE} bytes"));
        }
        if self
            .drop_at
            .iter()
            .any(|percent| !(1..=100).contains(percent))
        {
            problems.push("drop_at: not a number of percents from 1 to 100".to_owned());
        }
        if self.ring.is_some_and(|ring| ring < MIN_RING) {
            problems.push(format!("ring: less than {MIN_RING} bytes"));
        }
        let checked = Checked {
            style,
            filter,
            constants,
            of_targets,
            project: project.map(Into::into),
        };
        (checked, problems)
    }

    fn checked_format(&self, environment: &Environment, problems: &mut Vec<String>) -> Format {
        let set = self.format.unwrap_or_default();
        let Some(text) = &environment.format else {
            return set;
        };
        text.parse().unwrap_or_else(|error| {
            problems.push(format!("LOG_FORMAT: {error}"));
            set
        })
    }

    fn checked_filter(&self, environment: &Environment, problems: &mut Vec<String>) -> Directives {
        let none = Directives::none(self.quiet);
        // The default, which is valid, with what the program set, with what the environment sets.
        let default = none.with(DEFAULT, BareTargets::Refuse);
        let default = default.unwrap_or_else(|_| none.clone());
        let mut check = |name: &str, checked: Result<Directives, FilterError>, or: Directives| {
            checked.unwrap_or_else(|error| {
                problems.push(format!("{name}: {error}"));
                or
            })
        };
        let mut filter = default;
        if let Some(text) = &self.filter {
            filter = check("filter", filter.with(text, BareTargets::Enable), filter);
        }
        if let Some(text) = &environment.filter {
            filter = check("RUST_LOG", filter.with(text, BareTargets::Enable), filter);
        }
        filter
    }

    fn checked_fields(
        &self,
        style: Style,
        problems: &mut Vec<String>,
    ) -> (Fields, Vec<(Box<str>, Fields)>) {
        let mut targets: Vec<&str> = self.fields.iter().map(|field| &*field.target).collect();
        targets.sort_unstable_by_key(|target| (Reverse(target.len()), *target));
        targets.dedup();
        for field in &self.fields {
            if field.name.is_empty() || is_reserved(field.name, style) {
                problems.push(format!(
                    "field: {:?} is empty, or a name that each line needs for itself",
                    field.name
                ));
            }
        }
        let mut of_targets = Vec::new();
        for target in targets {
            let mut fields = Fields::default();
            for of in [target, ""] {
                // The last one of a name counts.
                for field in self
                    .fields
                    .iter()
                    .rev()
                    .filter(|field| *field.target == *of)
                {
                    fields.put_named(style, field.name, Value::Str(&field.value));
                }
            }
            if fields.as_bytes().len() > CONSTANTS || fields.is_cut {
                problems.push(format!("field: more than {CONSTANTS} bytes for one line"));
            }
            if !target.is_empty() {
                of_targets.push((target.into(), fields));
            }
        }
        let mut constants = Fields::default();
        let of_all = |field: &&Field| field.target.is_empty();
        for field in self.fields.iter().rev().filter(of_all) {
            constants.put_named(style, field.name, Value::Str(&field.value));
        }
        (constants, of_targets)
    }
}
