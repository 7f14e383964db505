/// How many entries a list has by default.
pub const DEFAULT_LIMIT: usize = 100;

/// How many entries a list has at most.
pub const MAX_LIMIT: usize = 1_000;

/// The parameters of a request, each at most once.
#[derive(Debug)]
pub struct Query<'a> {
    pairs: Vec<(String, String)>,
    valid: &'a [&'static str],
}

/// What is wrong with a query, as text for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct BadQuery {
    message: String,
}

impl BadQuery {
    /// Makes the error. The text must quote nothing of the request.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl<'a> Query<'a> {
    /// Reads the part after the `?`.
    ///
    /// # Errors
    ///
    /// If a parameter is not among the `valid` ones, or is given twice.
    pub fn parse(query: &str, valid: &'a [&'static str]) -> Result<Self, BadQuery> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !valid.contains(&&*name) {
                return Err(BadQuery::new(
                    "there is a parameter that this path does not have",
                ));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(BadQuery::new(format!("{name}: given more than once")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs, valid })
    }

    /// The parameter `limit`: [`DEFAULT_LIMIT`] if it is not given.
    ///
    /// # Errors
    ///
    /// If it is no number from 1 to [`MAX_LIMIT`].
    pub fn limit(&self) -> Result<usize, BadQuery> {
        let Some(limit) = self.get("limit") else {
            return Ok(DEFAULT_LIMIT);
        };
        match limit.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
            _ => Err(BadQuery::new(format!(
                "limit: not a number from 1 to {MAX_LIMIT}"
            ))),
        }
    }

    /// The parameter of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        // A name that is not valid could never be given.
        debug_assert!(self.valid.contains(&name));
        let pair = self.pairs.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &[&str] = &["limit", "after"];

    #[test]
    fn takes_each_parameter_once() {
        let query = Query::parse("after=a%20b&limit=7", VALID).unwrap();
        assert_eq!(query.limit(), Ok(7));
        assert_eq!(query.get("after"), Some("a b"));
        let bad = Query::parse("limit=1&limit=2", VALID).unwrap_err();
        assert_eq!(bad.message(), "limit: given more than once");
        Query::parse("other=1", VALID).unwrap_err();
    }

    #[test]
    fn bounds_the_limit() {
        let limit = |query: &str| Query::parse(query, VALID).and_then(|query| query.limit());
        assert_eq!(limit(""), Ok(DEFAULT_LIMIT));
        assert_eq!(limit("limit=1000"), Ok(MAX_LIMIT));
        for bad in ["limit=0", "limit=1001", "limit=", "limit=-1", "limit=x"] {
            limit(bad).unwrap_err();
        }
    }
}
