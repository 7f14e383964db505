//! What a probe asks about, and the answer.

use http::{Request, Response, StatusCode};
use tower_ops_core::http::is_read;

use crate::accept::Format;
use crate::check::{LIVENESS, READINESS, STARTUP};
use crate::entry::Entry;
use crate::group::Group;
use crate::probe::Probe;
use crate::query::Asked;
use crate::render::{self, Detailed};
use crate::report::Report;
use crate::response::{Answer, ProbeBody};
use crate::shared::{Entries, Shared};
use crate::status::Status;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    Probe(Probe),
    /// All checks.
    Checks,
    /// A check, or a declared group.
    Named(&'a str),
    /// Nothing: that there is an answer is the answer.
    Ping,
}

/// A client chooses how many names it leaves out.
const MOST_WARNINGS: usize = 16;

/// How many bytes the checks of an answer may have, and their names alone: it is rendered on the
/// thread that answers every other probe. `/checks` without a choice shows all.
const MOST_SHOWN: usize = 32 * 1024;
const MOST_NAMES: usize = 8 * 1024;

/// Answers without a look at the path.
pub(crate) fn answer<B>(
    shared: &Shared,
    target: Target<'_>,
    request: &Request<B>,
) -> Response<ProbeBody> {
    let (method, headers) = (request.method(), request.headers());
    if !is_read(method) {
        return Answer::method_not_allowed(headers).into_response(method);
    }
    let format = Format::negotiate(headers);
    let asked = Asked::parse(request.uri().query());
    let may_see = shared.details.allow(headers, asked.auth.as_deref());
    let hides_names = !may_see && shared.details.hides_names();
    let asked = if hides_names {
        asked.without_selection()
    } else {
        asked
    };
    let challenge = !may_see && shared.details.asks_for_token();
    Question {
        shared,
        format,
        asked,
        may_see,
        hides_names,
    }
    .answer(target)
    .with_challenge(challenge)
    .into_response(method)
}

struct Question<'a> {
    shared: &'a Shared,
    format: Format,
    asked: Asked<'a>,
    may_see: bool,
    /// Even which checks there are is not for everybody.
    hides_names: bool,
}

impl Question<'_> {
    fn answer(&self, target: Target<'_>) -> Answer {
        let shared = self.shared;
        match target {
            Target::Ping => Answer::status(StatusCode::OK, self.format, Status::Ok),
            Target::Probe(probe) => self.group(shared.built_in(match probe {
                Probe::Liveness => LIVENESS,
                Probe::Readiness => READINESS,
                Probe::Startup => STARTUP,
            })),
            Target::Checks => self.all(),
            Target::Named(name) => match (shared.entry(name), shared.groups.get(name)) {
                (Some(_), _) | (None, None) if self.hides_names => {
                    Answer::token_needed(self.format)
                }
                (Some(entry), _) => self.check(&entry),
                (None, Some(group)) => self.group(group),
                (None, None) => self.unknown(|_| true),
            },
        }
    }

    fn group(&self, group: &Group) -> Answer {
        let is_member = |entry: &Entry| entry.check.groups.contains(&group.name);
        if self.names_unknown(is_member) {
            return self.unknown(is_member);
        }
        let selected = |entry: &Entry| is_member(entry) && self.selects(entry);
        let status = self.shared.group_status_of(group, selected);
        if !self.may_see {
            return self.status_only(status, is_member);
        }
        let detail = match &*group.name {
            LIVENESS => self.shared.heart.detail(),
            READINESS => self.unready().map(ToOwned::to_owned),
            STARTUP if !self.shared.flags().started => Some("start-up is not over".to_owned()),
            _ => None,
        };
        self.details(status, detail.as_deref(), true, is_member, selected)
    }

    fn unready(&self) -> Option<&'static str> {
        let flags = self.shared.flags();
        match (flags.ready, flags.draining) {
            (true, _) => None,
            (false, true) => Some("the process is stopping"),
            (false, false) => Some("the process is not marked as ready"),
        }
    }

    fn all(&self) -> Answer {
        if self.names_unknown(|_| true) {
            return self.unknown(|_| true);
        }
        let status = {
            let entries = self.shared.entries();
            let selected = entries.values().filter(|entry| self.selects(entry));
            // Every check counts by its kind, and what is unknown as it does for readiness.
            Group::new("checks")
                .unknown_is(self.shared.built_in(READINESS).unknown)
                .status(selected.map(|entry| entry.standing()))
        };
        if !self.may_see {
            return self.status_only(status, |_| true);
        }
        let is_bounded = self.asked.has_selection();
        self.details(
            status,
            None,
            is_bounded,
            |_| true,
            |entry| self.selects(entry),
        )
    }

    fn check(&self, entry: &Entry) -> Answer {
        // Asked for alone, a check is what it is, whatever it means for others.
        let status = entry.status();
        if !self.may_see {
            return Answer::status(self.code(status), self.format, status);
        }
        let only = |other: &Entry| other.id == entry.id;
        self.details(status, None, true, only, only)
    }

    fn details(
        &self,
        status: Status,
        detail: Option<&str>,
        is_bounded: bool,
        is_member: impl Fn(&Entry) -> bool,
        selected: impl Fn(&Entry) -> bool,
    ) -> Answer {
        let entries = self.shared.entries();
        let members = || entries.values().filter(|entry| is_member(entry));
        let mut available: Vec<&str> = members().map(|entry| entry.name()).collect();
        let mut warnings = self.warnings(&entries, &is_member);
        let chosen = members().filter(|entry| selected(entry));
        let mut reports: Vec<Report> = chosen.map(|entry| entry.report()).collect();
        if is_bounded {
            // Stable: by name within what is to be looked at first.
            reports.sort_by_key(|report| report.status == Status::Ok);
            let left_out = bound(&mut reports, MOST_SHOWN, Report::rendered_size);
            bound(&mut available, MOST_NAMES, |name| name.len() + 3);
            if left_out > 0 {
                warnings.push(format!(
                    "{left_out} more checks are left out; /checks has all"
                ));
            }
        }
        let content = Detailed {
            status,
            detail,
            available: &available,
            reports: &reports,
            verbose: self.asked.verbose,
            warnings: &warnings,
        };
        Answer::details(self.code(status), self.format, content.render(self.format))
    }

    /// What was asked and is not done.
    fn warnings(&self, entries: &Entries, is_member: impl Fn(&Entry) -> bool) -> Vec<String> {
        let known = |name: &str| entries.get(name).is_some_and(|entry| is_member(entry));
        let unknown = self.asked.unknown_excluded(known);
        let unknown = unknown.into_iter().take(MOST_WARNINGS);
        unknown
            .map(|name| {
                let name: String = name.chars().take(64).collect();
                format!("exclude: there is no check {name:?} here")
            })
            .collect()
    }

    /// For those who may not see details.
    fn status_only(&self, status: Status, is_member: impl Fn(&Entry) -> bool) -> Answer {
        let warnings = self.warnings(&self.shared.entries(), is_member);
        if warnings.is_empty() {
            return Answer::status(self.code(status), self.format, status);
        }
        let content = render::warned(self.format, status, &warnings);
        Answer::details(self.code(status), self.format, content)
    }

    fn unknown(&self, is_member: impl Fn(&Entry) -> bool) -> Answer {
        if !self.may_see {
            return Answer::no_such_check(self.format);
        }
        let entries = self.shared.entries();
        let members = entries.values().filter(|entry| is_member(entry));
        let mut available: Vec<&str> = members.map(|entry| entry.name()).collect();
        let left_out = bound(&mut available, MOST_SHOWN, |name| name.len() + 3);
        let format = match self.format {
            Format::HealthJson => Format::Json,
            Format::Json | Format::Text => self.format,
        };
        let content = render::unknown_check(format, &available, left_out);
        Answer::details(StatusCode::NOT_FOUND, format, content)
    }

    fn names_unknown(&self, is_member: impl Fn(&Entry) -> bool) -> bool {
        let entries = self.shared.entries();
        let known = |name: &str| entries.get(name).is_some_and(|entry| is_member(entry));
        self.asked.names_unknown(known)
    }

    fn selects(&self, entry: &Entry) -> bool {
        let is_default = entry.check.groups.contains(READINESS);
        self.asked.selects(entry.name(), is_default)
    }

    const fn code(&self, status: Status) -> StatusCode {
        match status {
            Status::Ok => StatusCode::OK,
            Status::Degraded => self.shared.degraded,
            Status::Unknown | Status::Down => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Keeps the first ones, up to so many bytes; how many were left out.
fn bound<T>(all: &mut Vec<T>, most: usize, size: impl Fn(&T) -> usize) -> usize {
    let mut left = most;
    let fits = all.iter().take_while(|one| {
        let rest = left.checked_sub(size(one));
        left = rest.unwrap_or(0);
        rest.is_some()
    });
    let kept = fits.count();
    let left_out = all.len() - kept;
    all.truncate(kept);
    left_out
}
