use std::collections::BTreeSet;

/// The samples of one scrape of `/metrics`.
#[derive(Debug)]
pub struct Samples(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Samples {
    /// Reads the Prometheus text format, as far as tests need it: no label of
    /// ours has a comma or a quote in it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(Sample::parse).collect())
    }

    /// The sum over all series of that name that have all of these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name)
            .filter(|sample| labels.iter().all(|(label, value)| sample.has(label, value)))
            .map(|sample| sample.value)
            .sum()
    }

    /// As [`sum`](Self::sum), for what is counted one by one.
    ///
    /// # Panics
    ///
    /// If the sum is no natural number.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked"
    )]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        let sum = self.sum(name, labels);
        assert!(sum >= 0.0 && sum.fract() == 0.0, "{name} {labels:?}: {sum}");
        sum as usize
    }

    /// How many requests ended with that outcome.
    #[must_use]
    pub fn ended(&self, outcome: &str) -> usize {
        self.count("server_requests_total", &[("outcome", outcome)])
    }

    /// The values that a label has in the series of that name.
    #[must_use]
    pub fn values<'a>(&'a self, name: &str, label: &str) -> BTreeSet<&'a str> {
        self.of(name)
            .flat_map(|sample| &sample.labels)
            .filter(|(name, _)| name == label)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    fn of<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Sample> + use<'a, 'n> {
        self.0.iter().filter(move |sample| sample.name == name)
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        Self {
            name: name.to_owned(),
            labels: labels
                .split("\",")
                .filter(|label| !label.is_empty())
                .map(|label| {
                    let (name, value) = label.split_once("=\"").unwrap();
                    (name.to_owned(), value.trim_end_matches('"').to_owned())
                })
                .collect(),
            value: value.parse().unwrap(),
        }
    }

    fn has(&self, label: &str, value: &str) -> bool {
        self.labels
            .iter()
            .any(|(name, has)| name == label && has == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines() {
        let samples =
            Samples::parse("# TYPE a counter\na{x=\"1\",y=\"/u/{id}\"} 2\na{x=\"2\"} 3.5\n\nb 4\n");
        assert!((samples.sum("a", &[]) - 5.5).abs() < 1e-9);
        assert!((samples.sum("a", &[("y", "/u/{id}")]) - 2.0).abs() < 1e-9);
        assert_eq!(samples.count("b", &[]), 4);
        assert_eq!(samples.count("c", &[]), 0);
        assert_eq!(samples.values("a", "x"), BTreeSet::from(["1", "2"]));
    }
}
