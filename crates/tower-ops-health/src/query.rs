//! What a probe is asked beside its path.

use std::borrow::Cow;

/// Stands for the checks that decide about readiness.
const DEFAULTS: &str = "_defaults";

/// The parameters of a probe. What is not among them is skipped: a probe that answers 400
/// because of a parameter takes a healthy process down.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    /// Everything, if `None`.
    checks: Option<Vec<Cow<'a, str>>>,
    exclude: Vec<Cow<'a, str>>,
    pub(crate) verbose: bool,
    /// `None` if it is given twice as well: which one it is would be a guess.
    pub(crate) auth: Option<Cow<'a, str>>,
    has_auth: bool,
}

impl<'a> Asked<'a> {
    pub(crate) fn parse(query: Option<&'a str>) -> Self {
        let mut asked = Self::default();
        let Some(query) = query else {
            return asked;
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                // Empty, it asks for nothing else than the path does.
                "checks" if value.trim_matches(',').is_empty() => {}
                "checks" => asked.checks.get_or_insert_default().extend(names(value)),
                "exclude" => asked.exclude.extend(names(value)),
                "verbose" => asked.verbose = !matches!(&*value, "0" | "false"),
                "auth" if asked.has_auth => asked.auth = None,
                "auth" => (asked.has_auth, asked.auth) = (true, Some(value)),
                _ => {}
            }
        }
        asked
    }

    /// Whether it names the checks that it asks for.
    pub(crate) const fn has_selection(&self) -> bool {
        self.checks.is_some()
    }

    /// Whether it names a check that is not known. The defaults are.
    pub(crate) fn names_unknown(&self, known: impl Fn(&str) -> bool) -> bool {
        let checks = self
            .checks
            .iter()
            .flatten()
            .filter(|name| *name != DEFAULTS);
        !{
            let mut checks = checks;
            checks.all(|name| known(name))
        }
    }

    /// Those that are to be left out and are not known.
    pub(crate) fn unknown_excluded(&self, known: impl Fn(&str) -> bool) -> Vec<&str> {
        let excluded = self.exclude.iter().map(|name| &**name);
        excluded.filter(|name| !known(name)).collect()
    }

    /// The same for all checks.
    pub(crate) fn without_selection(self) -> Self {
        Self {
            checks: None,
            exclude: Vec::new(),
            ..self
        }
    }

    /// Whether a check of that name, which belongs to the defaults or not, is asked for.
    pub(crate) fn selects(&self, name: &str, is_default: bool) -> bool {
        let chosen = self.checks.as_ref().is_none_or(|checks| {
            checks
                .iter()
                .any(|asked| asked == name || (is_default && asked == DEFAULTS))
        });
        chosen && !self.exclude.iter().any(|excluded| excluded == name)
    }
}

fn names(value: Cow<'_, str>) -> impl Iterator<Item = Cow<'_, str>> {
    let names: Vec<Cow<'_, str>> = match value {
        Cow::Borrowed(value) => value.split(',').map(Cow::Borrowed).collect(),
        Cow::Owned(value) => value
            .split(',')
            .map(|name| name.to_owned().into())
            .collect(),
    };
    names.into_iter().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_what_is_asked_for() {
        let all = Asked::parse(None);
        assert!(all.selects("a", false) && !all.verbose);
        let asked = Asked::parse(Some("checks=a,_defaults&exclude=d&verbose&other=1"));
        assert!(asked.verbose);
        assert!(asked.selects("a", false) && asked.selects("b", true));
        assert!(!asked.selects("c", false) && !asked.selects("d", true));
        assert!(!asked.names_unknown(|name| ["a", "d"].contains(&name)));
        assert!(asked.names_unknown(|name| name == "d"));
        assert!(!Asked::parse(Some("verbose=false")).verbose);
        assert!(Asked::parse(Some("checks=")).selects("a", true));
        assert!(Asked::parse(Some("checks=,")).selects("a", true));
        assert!(!Asked::parse(Some("checks=&checks=b")).selects("a", true));
        // What cannot be left out is no reason to refuse.
        let asked = Asked::parse(Some("exclude=no,a"));
        assert!(!asked.names_unknown(|name| name == "a"));
        assert_eq!(asked.unknown_excluded(|name| name == "a"), ["no"]);
    }

    #[test]
    fn decodes_names() {
        let asked = Asked::parse(Some("checks=a%2Cb&auth=s%20e"));
        assert!(asked.selects("a", false) && asked.selects("b", false));
        assert_eq!(asked.auth.as_deref(), Some("s e"));
        for twice in ["auth=a&auth=b", "auth=b&auth=a", "auth=a&auth=a&auth=a"] {
            assert_eq!(Asked::parse(Some(twice)).auth, None, "{twice}");
        }
    }
}
