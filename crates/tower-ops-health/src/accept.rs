//! Which of our formats a client would rather read.

use http::HeaderMap;
use http::header::ACCEPT;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Text,
    /// `application/health+json`, the expired draft of the IETF.
    HealthJson,
}

impl Format {
    /// Chooses text if `accept` weighs it above JSON, `health+json` if it is named and nothing
    /// weighs more, and JSON in every other case.
    ///
    /// Never refuses: a probe that answers 406 takes a healthy process down. What cannot be read is
    /// skipped. A comma within a quoted parameter is taken for a separator; the worst that comes of
    /// it is the other format.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Self {
        let (mut json, mut text) = (Preference::NONE, Preference::NONE);
        let mut health = Preference::NONE;
        let values = headers.get_all(ACCEPT).iter();
        for range in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            let Some((media, weight)) = parse_range(range) else {
                continue;
            };
            json = json.max(Preference::of(
                media,
                weight,
                "application/json",
                "application/*",
            ));
            text = text.max(Preference::of(media, weight, "text/plain", "text/*"));
            // Only by its name: whoever takes anything expects plain JSON.
            if media.eq_ignore_ascii_case("application/health+json") {
                health.weight = health.weight.max(weight);
            }
        }
        if health.weight > 0 && health.weight >= json.weight.max(text.weight) {
            Self::HealthJson
        } else if text.weight > json.weight {
            Self::Text
        } else {
            Self::Json
        }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::HealthJson => "application/health+json",
        }
    }
}

/// What a client said about one format. The closest range decides, so that is what is compared
/// first; the weight is in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    closeness: u8,
    weight: u16,
}

impl Preference {
    /// Not mentioned, and so not wanted.
    const NONE: Self = Self {
        closeness: 0,
        weight: 0,
    };

    /// What the range `media` says about the format of that name and family.
    fn of(media: &str, weight: u16, name: &str, family: &str) -> Self {
        let closeness = if media.eq_ignore_ascii_case(name) {
            3
        } else if media.eq_ignore_ascii_case(family) {
            2
        } else if media.eq_ignore_ascii_case("*/*") {
            1
        } else {
            return Self::NONE;
        };
        Self { closeness, weight }
    }
}

/// Splits `text/plain; charset=utf-8; q=0.5` into the media range and its weight.
fn parse_range(range: &str) -> Option<(&str, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?;
    let weight = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    match weight {
        Some((_, weight)) => Some((media, parse_weight(weight.trim())?)),
        None => Some((media, 1000)),
    }
}

/// Reads a weight as thousandths: `1`, `0.25`, and `.2` as old clients send it.
fn parse_weight(weight: &str) -> Option<u16> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction
        .bytes()
        .zip([100, 10, 1])
        .map(|(digit, unit)| u16::from(digit - b'0') * unit)
        .sum();
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("", _) if !fraction.is_empty() => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}
