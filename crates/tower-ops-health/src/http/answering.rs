//! What a probe answers.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use tower_ops_core::http::{Answer, AnswerBody, is_read};

use super::negotiation::{Format, ProbeQuery};
use super::rendering::{self, Detailed};
use super::routes::{Probes, Target};
use crate::check::{CheckEntries, CheckEntry, LIVENESS, READINESS, Report, STARTUP};
use crate::group::Group;
use crate::health::{Health, HealthInner};
use crate::status::Status;

/// A client chooses how many names it leaves out.
const MOST_WARNINGS: usize = 16;

/// How many bytes the checks of an answer may have, and their names alone: it is rendered on the
/// thread that answers every other probe. `/checks` without a selection shows all.
const MOST_SHOWN: usize = 32 * 1024;
const MOST_NAMES: usize = 8 * 1024;

/// Answers a request. Without a target nothing is served on its path.
pub(super) fn answer<B>(
    health: &Health,
    target: Option<Target<'_>>,
    request: &Request<B>,
) -> Response<AnswerBody> {
    let (inner, method, headers) = (&*health.inner, request.method(), request.headers());
    let format = Format::negotiate(headers);
    let mut challenge = false;
    let answer = match target {
        None => rendering::not_found(format, Probes::PATHS),
        Some(_) if !is_read(method) => rendering::method_not_allowed(format),
        Some(target) => {
            let query = ProbeQuery::parse(request.uri().query());
            let may_see = inner.details.allow(headers, query.auth.as_deref());
            let hides_names = !may_see && inner.details.hides_names();
            challenge = !may_see && inner.details.asks_for_token();
            let question = Question {
                inner,
                entries: inner.entries(),
                format,
                query: if hides_names {
                    query.without_selection()
                } else {
                    query
                },
                may_see,
                hides_names,
            };
            question.answer(target)
        }
    };
    let mut response = answer.into_response(method);
    let headers = response.headers_mut();
    let no_cache = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, no_cache);
    if challenge {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

struct Question<'a> {
    inner: &'a HealthInner,
    entries: Arc<CheckEntries>,
    format: Format,
    query: ProbeQuery<'a>,
    may_see: bool,
    /// The names of checks are not public either.
    hides_names: bool,
}

impl Question<'_> {
    fn answer(&self, target: Target<'_>) -> Answer {
        match target {
            Target::Ping => rendering::status(StatusCode::OK, self.format, Status::Ok, &[]),
            Target::Group(name) => self.group(self.inner.built_in(name)),
            Target::Checks => self.all(),
            Target::Named(name) => {
                match (self.entries.get(name), self.inner.groups.get(name)) {
                    // Whether there is a check of that name is a detail too.
                    (Some(_), _) | (None, None) if self.hides_names => {
                        let error = "a bearer token is needed to ask for a check by its name";
                        rendering::problem(StatusCode::UNAUTHORIZED, self.format, error)
                    }
                    (Some(entry), _) => self.check(entry),
                    (None, Some(group)) => self.group(group),
                    (None, None) => self.unknown(|_| true),
                }
            }
        }
    }

    fn group(&self, group: &Group) -> Answer {
        let is_member = |entry: &CheckEntry| entry.check.groups.contains(&group.name);
        if self.names_unknown(is_member) {
            return self.unknown(is_member);
        }
        let selected = |entry: &CheckEntry| is_member(entry) && self.selects(entry);
        let status = self.inner.group_status_of(group, selected);
        if !self.may_see {
            return self.status_only(status, is_member);
        }
        let detail = match &*group.name {
            LIVENESS => self.inner.heart.detail(),
            READINESS => self.unready().map(ToOwned::to_owned),
            STARTUP if !self.inner.flags().started => Some("start-up is not over".to_owned()),
            _ => None,
        };
        self.details(status, detail.as_deref(), true, is_member, selected)
    }

    fn unready(&self) -> Option<&'static str> {
        let flags = self.inner.flags();
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
        let selected = self.entries.values().filter(|entry| self.selects(entry));
        // Every check counts by its kind, and an unknown one as it does for readiness.
        let status = Group::new("checks")
            .unknown_is(self.inner.built_in(READINESS).unknown)
            .status(selected.map(|entry| entry.standing()));
        if !self.may_see {
            return self.status_only(status, |_| true);
        }
        let is_bounded = self.query.has_selection();
        let selected = |entry: &CheckEntry| self.selects(entry);
        self.details(status, None, is_bounded, |_| true, selected)
    }

    fn check(&self, entry: &CheckEntry) -> Answer {
        // Of a single check, the kind does not matter.
        let status = entry.status();
        if !self.may_see {
            return rendering::status(self.code(status), self.format, status, &[]);
        }
        let only = |other: &CheckEntry| other.id == entry.id;
        self.details(status, None, true, only, only)
    }

    fn details(
        &self,
        status: Status,
        detail: Option<&str>,
        is_bounded: bool,
        is_member: impl Fn(&CheckEntry) -> bool,
        selected: impl Fn(&CheckEntry) -> bool,
    ) -> Answer {
        let mut available = self.names(&is_member);
        let mut warnings = self.warnings(&is_member);
        let members = self.entries.values().filter(|entry| is_member(entry));
        let chosen = members.filter(|entry| selected(entry));
        let mut reports: Vec<Report> = chosen.map(|entry| entry.report()).collect();
        if is_bounded {
            // Stable: by name within those that are not ok, and those that are.
            reports.sort_by_key(|report| report.status == Status::Ok);
            let left_out = bound(&mut reports, MOST_SHOWN, Report::rendered_size);
            bound(&mut available, MOST_NAMES, name_size);
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
            verbose: self.query.verbose,
            warnings: &warnings,
        };
        content.answer(self.code(status), self.format)
    }

    /// Returns warnings of what was asked for and is not done.
    fn warnings(&self, is_member: impl Fn(&CheckEntry) -> bool) -> Vec<String> {
        let unknown = self.query.unknown_excluded(self.known(is_member));
        let warnings = unknown.take(MOST_WARNINGS).map(|name| {
            let name: String = name.chars().take(64).collect();
            format!("exclude: there is no check {name:?} here")
        });
        warnings.collect()
    }

    /// For those who may not see details.
    fn status_only(&self, status: Status, is_member: impl Fn(&CheckEntry) -> bool) -> Answer {
        let warnings = self.warnings(is_member);
        rendering::status(self.code(status), self.format, status, &warnings)
    }

    fn unknown(&self, is_member: impl Fn(&CheckEntry) -> bool) -> Answer {
        if !self.may_see {
            // Which checks there are is a detail.
            return rendering::problem(StatusCode::NOT_FOUND, self.format, "unknown check");
        }
        let mut available = self.names(is_member);
        let warnings = match bound(&mut available, MOST_SHOWN, name_size) {
            0 => Vec::new(),
            left_out => vec![format!(
                "{left_out} more names are left out; /checks has all"
            )],
        };
        rendering::unknown_check(self.format, &available, &warnings)
    }

    fn names(&self, is_member: impl Fn(&CheckEntry) -> bool) -> Vec<&str> {
        let members = self.entries.values().filter(|entry| is_member(entry));
        members.map(|entry| entry.name()).collect()
    }

    fn names_unknown(&self, is_member: impl Fn(&CheckEntry) -> bool) -> bool {
        self.query.names_unknown(self.known(is_member))
    }

    /// Returns whether there is a member of that name.
    fn known(&self, is_member: impl Fn(&CheckEntry) -> bool) -> impl Fn(&str) -> bool {
        move |name| self.entries.get(name).is_some_and(|entry| is_member(entry))
    }

    fn selects(&self, entry: &CheckEntry) -> bool {
        let is_default = entry.check.groups.contains(READINESS);
        self.query.selects(entry.name(), is_default)
    }

    const fn code(&self, status: Status) -> StatusCode {
        match status {
            Status::Ok => StatusCode::OK,
            Status::Degraded => self.inner.degraded,
            Status::Unknown | Status::Down => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Returns how many bytes a name has in a list.
const fn name_size(name: &&str) -> usize {
    name.len() + 3
}

/// Keeps the first ones, up to so many bytes. Returns how many were left out.
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
