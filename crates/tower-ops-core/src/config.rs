//! The errors that `main` returns: all problems of a configuration at once, and why something
//! could not be started.

use std::error::Error;
use std::fmt;

mod start_error;

pub use self::start_error::StartError;

/// What is wrong with a configuration: every problem, not just the first.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    of: &'static str,
    problems: Vec<String>,
}

impl ConfigError {
    /// Returns an error with these problems, or `Ok` if there are none. `of` names what is
    /// configured, with its article.
    ///
    /// # Errors
    ///
    /// If there are problems.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_core::config::ConfigError;
    ///
    /// assert!(ConfigError::from_problems("the metrics", vec![]).is_ok());
    /// let problems = vec!["prefix: is empty".to_owned(), "buckets: are not sorted".to_owned()];
    /// let error = ConfigError::from_problems("the metrics", problems).unwrap_err();
    /// assert_eq!(error.problems().len(), 2);
    /// ```
    pub fn from_problems(of: &'static str, problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { of, problems })
        }
    }

    /// Returns the problems, each a sentence that begins with the setting's name.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration of {} is invalid:", self.of)?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}

/// As [`Display`](fmt::Display): this is what `main` prints when it returns the error, and what
/// `expect` does.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ConfigError {}
