//! A strict reader of the Prometheus text format, so that the tests compare numbers and not text.

use std::collections::{BTreeMap, BTreeSet};
use std::str::Chars;

/// The samples of one answer of `/metrics`. Reading panics on what Prometheus would refuse.
#[derive(Debug)]
pub(crate) struct Scrape {
    samples: Vec<Sample>,
    types: BTreeMap<String, String>,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// All lines of a histogram with one label set.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Upper bounds as they are written, with the samples of that bucket alone.
    pub(crate) buckets: Vec<(String, f64)>,
    pub(crate) sum: f64,
    pub(crate) count: f64,
}

impl Histogram {
    /// The upper bound of the bucket that its only sample is in.
    pub(crate) fn bucket_of_one(&self) -> &str {
        assert_eq!(self.count, 1.0, "{self:?}");
        let mut filled = self.buckets.iter().filter(|(_, samples)| *samples == 1.0);
        let (bound, _) = filled.next().expect("a filled bucket");
        bound
    }
}

impl Scrape {
    pub(crate) fn of(text: &str) -> Self {
        let mut samples = Vec::new();
        let mut types = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                if let Some(rest) = comment.strip_prefix("TYPE ") {
                    let (name, kind) = rest.split_once(' ').expect("a name and a type");
                    let before = types.insert(name.to_owned(), kind.to_owned());
                    assert!(before.is_none(), "two types of {name}");
                } else {
                    assert!(comment.starts_with("HELP "), "{line:?}");
                }
                continue;
            }
            let sample = Sample::of(line);
            assert!(
                seen.insert((sample.name.clone(), sample.labels.clone())),
                "a series twice: {line}"
            );
            samples.push(sample);
        }
        Self { samples, types }
    }

    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub(crate) fn kind(&self, name: &str) -> Option<&str> {
        self.types.get(name).map(String::as_str)
    }

    /// The value of exactly this series.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = owned(labels);
        let mut found = self.samples.iter();
        found
            .find(|sample| sample.name == name && sample.labels == labels)
            .map(|sample| sample.value)
    }

    /// The sum over all series of a name.
    pub(crate) fn total(&self, name: &str) -> f64 {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        samples.map(|sample| sample.value).sum()
    }

    /// The label sets of a histogram, in no order.
    pub(crate) fn label_sets(&self, histogram: &str) -> Vec<&BTreeMap<String, String>> {
        let count = format!("{histogram}_count");
        let samples = self.samples.iter().filter(|sample| sample.name == count);
        samples.map(|sample| &sample.labels).collect()
    }

    /// The different values of a label.
    pub(crate) fn label_values(&self, label: &str) -> BTreeSet<&str> {
        let values = self.samples.iter().map(|sample| sample.labels.get(label));
        values.flatten().map(String::as_str).collect()
    }

    /// The histogram with exactly these labels.
    pub(crate) fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<Histogram> {
        let count = self.value(&format!("{name}_count"), labels)?;
        let sum = self.value(&format!("{name}_sum"), labels)?;
        let (name, labels) = (format!("{name}_bucket"), owned(labels));
        let mut buckets = Vec::new();
        let mut below = 0.0;
        for sample in self.samples.iter().filter(|sample| sample.name == name) {
            let mut others = sample.labels.clone();
            let bound = others.remove("le").expect("a bucket has a bound");
            if others == labels {
                buckets.push((bound, sample.value - below));
                below = sample.value;
            }
        }
        assert_eq!(buckets.last().map(|(bound, _)| &**bound), Some("+Inf"));
        assert_eq!(below, count);
        Some(Histogram {
            buckets,
            sum,
            count,
        })
    }
}

fn owned(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let labels = labels.iter();
    labels
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

impl Sample {
    fn of(line: &str) -> Self {
        let end = line.find(['{', ' ']).expect("a name and a value");
        let (name, rest) = line.split_at(end);
        let is_name = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && text
                    .chars()
                    .all(|each| each.is_ascii_alphanumeric() || each == '_')
        };
        assert!(is_name(name), "{line:?}");
        let mut labels = BTreeMap::new();
        let mut rest = rest.chars();
        if rest.as_str().starts_with('{') {
            rest.next();
            while !rest.as_str().starts_with('}') {
                let (label, _) = rest.as_str().split_once("=\"").expect("a label");
                assert!(is_name(label), "{line:?}");
                let label = label.to_owned();
                rest = rest.as_str()[label.len() + 2..].chars();
                let before = labels.insert(label, quoted(&mut rest));
                assert!(before.is_none(), "a label twice: {line}");
                if rest.as_str().starts_with(',') {
                    rest.next();
                }
            }
            rest.next();
        }
        let value = rest.as_str().strip_prefix(' ').expect("a space");
        let value = value.parse().expect("a number and nothing after it");
        Self {
            name: name.to_owned(),
            labels,
            value,
        }
    }
}

/// Reads a label's value and its closing quote.
fn quoted(chars: &mut Chars<'_>) -> String {
    let mut value = String::new();
    loop {
        match chars.next().expect("a closing quote") {
            '"' => return value,
            '\\' => value.push(match chars.next() {
                Some('n') => '\n',
                Some(plain @ ('\\' | '"')) => plain,
                other => panic!("no such escape: {other:?}"),
            }),
            other => value.push(other),
        }
    }
}
