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
    pub(crate) auth: Option<Cow<'a, str>>,
}

impl<'a> Asked<'a> {
    pub(crate) fn parse(query: Option<&'a str>) -> Self {
        let mut asked = Self::default();
        let Some(query) = query else {
            return asked;
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "checks" => asked.checks.get_or_insert_default().extend(names(value)),
                "exclude" => asked.exclude.extend(names(value)),
                "verbose" => asked.verbose = !matches!(&*value, "0" | "false"),
                "auth" => asked.auth = Some(value),
                _ => {}
            }
        }
        asked
    }

    /// Whether it names a check that is not known. The defaults are.
    pub(crate) fn names_unknown(&self, known: impl Fn(&str) -> bool) -> bool {
        let checks = self
            .checks
            .iter()
            .flatten()
            .filter(|name| *name != DEFAULTS);
        !checks.chain(&self.exclude).all(|name| known(name))
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
        assert!(asked.names_unknown(|name| name == "a"));
        assert!(!Asked::parse(Some("verbose=false")).verbose);
        assert!(!Asked::parse(Some("checks=")).selects("a", true));
    }

    #[test]
    fn decodes_names() {
        let asked = Asked::parse(Some("checks=a%2Cb&auth=s%20e"));
        assert!(asked.selects("a", false) && asked.selects("b", false));
        assert_eq!(asked.auth.as_deref(), Some("s e"));
    }
}
