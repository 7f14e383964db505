//! What a request asks for beside its path: the format, and the parameters of its query.

use std::borrow::Cow;

use http::HeaderMap;
use tower_ops_core::http::Accept;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Text,
    /// `application/health+json`, the expired draft of the IETF.
    HealthJson,
}

impl Format {
    /// Chooses text if `accept` weighs it above JSON, `health+json` if it is named and nothing
    /// weighs more, and JSON in every other case.
    ///
    /// Never refuses: a probe that answers 406 takes a healthy process down.
    pub(super) fn negotiate(headers: &HeaderMap) -> Self {
        let accept = Accept::from_headers(headers);
        let json = accept.weight("application/json").unwrap_or(0);
        let text = accept.weight("text/plain").unwrap_or(0);
        // By its name only: a client that accepts anything expects plain JSON.
        let health = accept.named("application/health+json");
        if health > 0 && health >= json.max(text) {
            Self::HealthJson
        } else if text > json {
            Self::Text
        } else {
            Self::Json
        }
    }
}

/// Stands for the checks in readiness.
const DEFAULTS: &str = "_defaults";

/// The parameters of a probe. Others are skipped: a probe that answers 400 because of a parameter
/// takes a healthy process down.
#[derive(Debug, Default)]
pub(super) struct ProbeQuery<'a> {
    /// `None` is all checks.
    checks: Option<Vec<String>>,
    exclude: Vec<String>,
    pub(super) verbose: bool,
    /// Also `None` if it is given twice: which of the two to take would be a guess.
    pub(super) auth: Option<Cow<'a, str>>,
}

impl<'a> ProbeQuery<'a> {
    pub(super) fn parse(query: Option<&'a str>) -> Self {
        let mut parsed = Self::default();
        let mut auths = 0;
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                // Empty, it is as if it were not given.
                "checks" if value.trim_matches(',').is_empty() => {}
                "checks" => parsed.checks.get_or_insert_default().extend(names(&value)),
                "exclude" => parsed.exclude.extend(names(&value)),
                "verbose" => parsed.verbose = !matches!(&*value, "0" | "false"),
                "auth" => {
                    auths += 1;
                    parsed.auth = (auths == 1).then_some(value);
                }
                _ => {}
            }
        }
        parsed
    }

    /// Returns whether it names checks.
    pub(super) const fn has_selection(&self) -> bool {
        self.checks.is_some()
    }

    /// Returns whether it names a check that is not known, `_defaults` aside.
    pub(super) fn names_unknown(&self, known: impl Fn(&str) -> bool) -> bool {
        let mut checks = self.checks.iter().flatten();
        checks.any(|name| name != DEFAULTS && !known(name))
    }

    /// Returns the names to leave out that are not known.
    pub(super) fn unknown_excluded(
        &self,
        known: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = &str> {
        let excluded = self.exclude.iter().map(|name| &**name);
        excluded.filter(move |name| !known(name))
    }

    /// Selects all checks again.
    pub(super) fn without_selection(self) -> Self {
        Self {
            checks: None,
            exclude: Vec::new(),
            ..self
        }
    }

    /// Returns whether a check is selected. `is_default` is whether it is in readiness.
    pub(super) fn selects(&self, name: &str, is_default: bool) -> bool {
        let is_meant = |asked: &String| asked == name || (is_default && asked == DEFAULTS);
        let chosen = self.checks.as_ref();
        chosen.is_none_or(|checks| checks.iter().any(is_meant))
            && !self.exclude.iter().any(|excluded| excluded == name)
    }
}

fn names(value: &str) -> impl Iterator<Item = String> {
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_what_is_asked_for() {
        let all = ProbeQuery::parse(None);
        assert!(all.selects("a", false) && !all.verbose);
        let query = ProbeQuery::parse(Some("checks=a,_defaults&exclude=d&verbose&other=1"));
        assert!(query.verbose);
        assert!(query.selects("a", false) && query.selects("b", true));
        assert!(!query.selects("c", false) && !query.selects("d", true));
        assert!(!query.names_unknown(|name| ["a", "d"].contains(&name)));
        assert!(query.names_unknown(|name| name == "d"));
        assert!(!ProbeQuery::parse(Some("verbose=false")).verbose);
        assert!(ProbeQuery::parse(Some("checks=")).selects("a", true));
        assert!(ProbeQuery::parse(Some("checks=,")).selects("a", true));
        assert!(!ProbeQuery::parse(Some("checks=&checks=b")).selects("a", true));
        // An unknown check to leave out is not refused.
        let query = ProbeQuery::parse(Some("exclude=no,a"));
        assert!(!query.names_unknown(|name| name == "a"));
        let unknown = query.unknown_excluded(|name| name == "a");
        assert_eq!(unknown.collect::<Vec<_>>(), ["no"]);
    }

    #[test]
    fn decodes_names() {
        let query = ProbeQuery::parse(Some("checks=a%2Cb&auth=s%20e"));
        assert!(query.selects("a", false) && query.selects("b", false));
        assert_eq!(query.auth.as_deref(), Some("s e"));
        for twice in ["auth=a&auth=b", "auth=b&auth=a", "auth=a&auth=a&auth=a"] {
            assert_eq!(ProbeQuery::parse(Some(twice)).auth, None, "{twice}");
        }
    }
}
