//! What an operator can set without a new build: from the environment, or from a file by serde.

use std::ffi::OsStr;
use std::fmt;

use tower_ops_core::config::ConfigError;

use self::table::{OTHERS, PREFIX, TABLE};
use crate::OpsBuilder;

#[cfg(feature = "serde")]
mod deserialize;
mod kind;
mod nearest;
mod table;
#[cfg(test)]
mod tests;

/// The settings of an [`Ops`](crate::Ops) that an operator can change without a new build: from
/// variables of the environment, or from a file of the application by `serde`.
///
/// A setting has the same name everywhere: `drain_timeout` in a file is `TOWER_OPS_DRAIN_TIMEOUT` in
/// the environment. What is not set stays as the code has it. Apply it with
/// [`OpsBuilder::settings`].
///
#[doc = include_str!("settings/table.md")]
///
/// # In a file
///
/// With the feature `serde` it implements `Deserialize`, as a part of what the application reads from
/// its file, whatever the format. A duration is text with its unit. Numbers and switches may be text
/// or of their own type, and networks a list or text with commas between them. A null is not set.
///
/// # Problems
///
/// A name that is not in the table is an error, and so is a value of another kind: a limit that
/// nobody reads is worse than a service that does not start. All problems are reported at once,
/// and an unknown name with the nearest one. What can be checked only together, such as the parts of
/// a shutdown against its grace period, is reported by [`build`](OpsBuilder::build).
///
/// # Examples
///
/// ```
/// use tower_ops::{Ops, Settings};
///
/// # fn main() -> Result<(), tower_ops::ConfigError> {
/// let ops = Ops::builder("orders").settings(Settings::from_env()?);
/// # let _ = ops;
///
/// let wrong = [("TOWER_OPS_DRAIN_TIMEOUT", "20"), ("TOWER_OPS_MAX_CONECTIONS", "500")];
/// let error = Settings::from_vars(wrong).unwrap_err();
/// assert_eq!(
///     error.problems(),
///     [
///         "TOWER_OPS_DRAIN_TIMEOUT: \"20\" is not a duration of at most a day, such as \"30s\"",
///         "TOWER_OPS_MAX_CONECTIONS: is not a setting; the nearest is TOWER_OPS_MAX_CONNECTIONS",
///     ]
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Of each row of the table that is set, its place and its text, which is valid.
    set: Vec<(usize, String)>,
}

impl Settings {
    /// Reads the variables of the process that begin with `TOWER_OPS_`. One that is empty is not set.
    ///
    /// The variables that Kubernetes makes for a service whose name begins with `tower-ops` are left
    /// alone, and so are those that begin with `TOWER_OPS_TEST_`.
    ///
    /// # Errors
    ///
    /// If a name is unknown or a value is invalid. The error lists every problem.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(std::env::vars_os())
    }

    /// Reads variables, as [`from_env`](Self::from_env) does, from elsewhere: for tests, and for files
    /// of variables. Names that do not begin with `TOWER_OPS_` are left alone.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_vars<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Result<Self, ConfigError>
    where
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let mut ours: Vec<_> = vars
            .into_iter()
            .filter_map(|(name, value)| {
                let name = name.as_ref().to_string_lossy();
                let name = name.strip_prefix(PREFIX)?;
                let is_set = !value.as_ref().is_empty();
                is_set.then(|| (name.to_owned(), value.as_ref().to_owned()))
            })
            .collect();
        ours.sort();
        let services = services(ours.iter().map(|(name, _)| name.as_str()));
        let mut reading = Reading::new(|name| format!("{PREFIX}{}", name.to_ascii_uppercase()));
        for (name, value) in &ours {
            if is_of_others(name, &services) {
                continue;
            }
            // Lower case is another variable, except on Windows.
            let row = find(&name.to_ascii_lowercase())
                .filter(|_| cfg!(windows) || !name.bytes().any(|it| it.is_ascii_lowercase()));
            match (row, value.to_str()) {
                (None, _) => reading.unknown(&format!("{PREFIX}{name}"), name),
                (Some(row), None) => reading.problem(row, "is not valid Unicode"),
                (Some(row), Some(text)) => reading.set(row, text),
            }
        }
        reading.finish()
    }

    /// Takes from `other` what is not set here: for an environment that wins over a file.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Settings;
    ///
    /// # fn main() -> Result<(), tower_ops::ConfigError> {
    /// let file = Settings::default(); // or by serde
    /// let settings = Settings::from_env()?.or(file);
    /// # let _ = settings;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (row, text) in other.set {
            self.insert(row, text);
        }
        self
    }

    /// Returns `false`, and changes nothing, if the row is set already.
    fn insert(&mut self, row: usize, text: String) -> bool {
        match self.set.binary_search_by_key(&row, |(own, _)| *own) {
            Ok(_) => false,
            Err(place) => {
                self.set.insert(place, (row, text));
                true
            }
        }
    }
}

/// As a map of what is set. No value is secret: a token is in a file.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings ")?;
        let named = self.set.iter().map(|(row, text)| (TABLE[*row].name, text));
        f.debug_map().entries(named).finish()
    }
}

impl OpsBuilder {
    /// Applies what an operator has set, from the environment or from a file.
    ///
    /// The order counts, as for all methods: a setting wins over code before this call, and code after
    /// it wins over a setting. Tokens and networks of trusted proxies are added to those of the code,
    /// wherever they are. The ratio of sampled traces replaces all the sampling that code before has
    /// set, rules of routes included.
    ///
    /// # Examples
    ///
    /// Ten seconds unless the operator sets another time, and a limit that nobody can change:
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_ops::{Ops, Settings};
    ///
    /// # fn main() -> Result<(), tower_ops::ConfigError> {
    /// let ops = Ops::builder("orders")
    ///     .lifecycle(|lifecycle| lifecycle.drain_timeout(Duration::from_secs(10)))
    ///     .settings(Settings::from_env()?)
    ///     .connections(|connections| connections.max_connections(500));
    /// # let _ = ops;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "they are applied once")]
    pub fn settings(self, settings: Settings) -> Self {
        settings.set.iter().fold(self, |ops, (row, text)| {
            match TABLE[*row].kind.change(text) {
                Ok(change) => change(ops),
                // It was valid when it was set.
                Err(_) => ops,
            }
        })
    }
}

/// Settings and all that is wrong with them, while they are read.
struct Reading {
    settings: Settings,
    problems: Vec<String>,
    /// How users write the name of a setting.
    spelled: fn(&str) -> String,
}

impl Reading {
    fn new(spelled: fn(&str) -> String) -> Self {
        Self {
            settings: Settings::default(),
            problems: Vec::new(),
            spelled,
        }
    }

    fn set(&mut self, row: usize, text: &str) {
        if let Err(problems) = TABLE[row].kind.change(text) {
            for problem in problems {
                self.problem(row, &problem);
            }
        } else if !self.settings.insert(row, text.to_owned()) {
            self.problem(row, "is given twice");
        }
    }

    fn problem(&mut self, row: usize, problem: &str) {
        let name = (self.spelled)(TABLE[row].name);
        self.problems.push(format!("{name}: {problem}"));
    }

    /// `given` is how the name was written, and `name` what of it could be a name of ours.
    fn unknown(&mut self, given: &str, name: &str) {
        let given = given.escape_debug();
        let names = TABLE.iter().map(|setting| setting.name);
        let nearest = nearest::nearest(&name.to_ascii_lowercase(), names);
        let hint = nearest.map_or_else(String::new, |near| {
            format!("; the nearest is {}", (self.spelled)(near))
        });
        self.problems
            .push(format!("{given}: is not a setting{hint}"));
    }

    fn finish(self) -> Result<Settings, ConfigError> {
        ConfigError::from_problems("the service", self.problems)?;
        Ok(self.settings)
    }
}

fn find(name: &str) -> Option<usize> {
    TABLE.iter().position(|setting| setting.name == name)
}

/// Returns the services of Kubernetes whose names begin with `tower-ops`, as they stand in variables
/// after our prefix. One that is named `tower-ops` is an empty text.
fn services<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let of_service = |name: &'a str| match name {
        "SERVICE_HOST" => Some(""),
        _ => name.strip_suffix("_SERVICE_HOST"),
    };
    names.filter_map(of_service).collect()
}

/// Whether somebody else reads the variable, or Kubernetes has made it for a service.
fn is_of_others(name: &str, services: &[&str]) -> bool {
    let is_of = |service: &&str| {
        let Some(rest) = name.strip_prefix(*service) else {
            return false;
        };
        let rest = match (service.is_empty(), rest.strip_prefix('_')) {
            (true, _) => rest,
            (false, Some(rest)) => rest,
            (false, None) => return false,
        };
        rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
    };
    name.starts_with("TEST_")
        || OTHERS.iter().any(|(other, _)| *other == name)
        || services.iter().any(is_of)
}
