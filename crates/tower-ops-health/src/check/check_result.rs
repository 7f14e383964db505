use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::status::Status;

/// How many bytes of a text are kept: an error may quote a page.
const MAX_TEXT: usize = 1_024;
/// How many sources of an error are read.
const MAX_SOURCES: usize = 32;

/// What one run of a check has found.
///
/// A closure may also return `()`, a `bool`, or a `Result` with any error. The error and its sources
/// become the text.
///
/// # Examples
///
/// ```
/// use tower_ops_health::CheckResult;
///
/// let depth = 120.0;
/// let found = if depth > 100.0 {
///     CheckResult::degraded("the queue is long")
/// } else {
///     CheckResult::ok()
/// };
/// let found = found.value(depth, "jobs");
/// # let _ = found;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CheckResult {
    pub(crate) status: Status,
    pub(crate) detail: Option<Cow<'static, str>>,
    pub(crate) error: Option<Cow<'static, str>>,
    pub(crate) value: Option<Measurement>,
}

/// A number that a check has measured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Measurement {
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: Cow<'static, str>,
}

impl CheckResult {
    const fn new(status: Status) -> Self {
        Self {
            status,
            detail: None,
            error: None,
            value: None,
        }
    }

    /// Returns its status: ok, degraded or down.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Makes a result that is ok.
    pub const fn ok() -> Self {
        Self::new(Status::Ok)
    }

    /// Makes a result of what works, but not as it should, with a remark. A success for thresholds.
    pub fn degraded(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::Degraded).detail(detail)
    }

    /// Makes a result of what does not work, with the cause. A failure for thresholds.
    pub fn down(error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            error: Some(bounded(error.into())),
            ..Self::new(Status::Down)
        }
    }

    /// Sets a remark. The first 1,024 bytes of it are kept.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(bounded(detail.into()));
        self
    }

    /// Sets the number that was measured, and its unit.
    pub fn value(mut self, value: f64, unit: impl Into<Cow<'static, str>>) -> Self {
        self.value = Some(Measurement {
            value,
            unit: bounded(unit.into()),
        });
        self
    }
}

fn bounded(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= MAX_TEXT {
        return text;
    }
    // `str::floor_char_boundary` needs Rust 1.91.
    let end = (0..=MAX_TEXT)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

impl From<()> for CheckResult {
    fn from((): ()) -> Self {
        Self::ok()
    }
}

impl From<bool> for CheckResult {
    fn from(good: bool) -> Self {
        if good {
            Self::ok()
        } else {
            Self::down("the check returned false")
        }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<Result<(), E>> for CheckResult {
    fn from(result: Result<(), E>) -> Self {
        result.map(|()| Self::ok()).into()
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<Result<Self, E>> for CheckResult {
    fn from(result: Result<Self, E>) -> Self {
        result.unwrap_or_else(|error| Self::down(chain(&*error.into())))
    }
}

/// Returns the text of an error and of its sources, except those that the text already quotes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = display(error);
    let mut source = error.source();
    // Sources may form a ring.
    for _ in 0..MAX_SOURCES {
        let Some(error) = source.filter(|_| text.len() <= MAX_TEXT) else {
            break;
        };
        let cause = display(error);
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// Returns the part of its text that is kept. The text may be without end.
fn display(error: &(dyn Error + 'static)) -> String {
    struct Bounded(String);

    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            if self.0.len() > MAX_TEXT {
                return Err(fmt::Error);
            }
            self.0.push_str(text);
            Ok(())
        }
    }

    let mut bounded = Bounded(String::new());
    let _ = fmt::Write::write_fmt(&mut bounded, format_args!("{error}"));
    bounded.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_written_with_its_sources() {
        #[derive(Debug)]
        struct Outer(std::io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no connection")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let result: Result<(), _> = Err(Outer(std::io::Error::other("refused")));
        let result = CheckResult::from(result);
        assert_eq!(result.status, Status::Down);
        assert_eq!(result.error.unwrap(), "no connection: refused");
    }

    #[test]
    fn an_error_that_is_its_own_source_is_written_once() {
        #[derive(Debug)]
        struct Ring(u32);
        impl fmt::Display for Ring {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "ring {}", self.0)
            }
        }
        impl Error for Ring {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                static OTHER: Ring = Ring(2);
                static FIRST: Ring = Ring(1);
                Some(if self.0 == 1 { &OTHER } else { &FIRST })
            }
        }
        let result = CheckResult::from(Err::<(), _>(Ring(1)));
        assert_eq!(result.error.unwrap(), "ring 1: ring 2");

        #[derive(Debug)]
        struct Itself;
        impl fmt::Display for Itself {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("over and over")
            }
        }
        impl Error for Itself {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        let result = CheckResult::from(Err::<(), _>(Itself));
        assert_eq!(result.error.unwrap(), "over and over");
    }

    #[test]
    fn an_error_without_end_is_cut() {
        #[derive(Debug)]
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("on and on ")?;
                }
            }
        }
        impl Error for Endless {}
        let result = CheckResult::from(Err::<(), _>(Endless));
        assert!(result.error.unwrap().len() <= MAX_TEXT + "…".len());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "ä".repeat(MAX_TEXT);
        let kept = CheckResult::down(format!("x{long}")).error.unwrap();
        assert!(kept.ends_with("ä…") && kept.len() <= MAX_TEXT + "…".len());
    }
}
