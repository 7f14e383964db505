//! Envelopes that no capture wrote.

use std::io::Write as _;

use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// Xorshift: the same each time, and enough of it.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An envelope with any data, and right digests: as an attacker writes it who has the token.
pub(crate) fn envelope(counters: &str, jobs: &str) -> String {
    envelope_with(counters, jobs, |entries| entries)
}

pub(crate) fn envelope_with(
    counters: &str,
    jobs: &str,
    change: impl FnOnce(String) -> String,
) -> String {
    let entry = |name: &str, data: &str| {
        let sum = hex(&Sha256::digest(data));
        let length = data.len();
        format!(r#"{{"name":"{name}","version":1,"length":{length},"sha256":"{sum}"}}"#)
    };
    let entries = format!("{},{}", entry("counters", counters), entry("jobs", jobs));
    let head = change(format!(
        r#"{{"application":"shop","application_version":"1","instance":"x","generation":0,"created":"2026-11-21T00:00:00Z","participants":[{entries}]}}"#
    ));
    let sum = hex(&Sha256::digest(&head));
    format!(
        r#"{{"format":"tower-ops-state","version":1,"head":{head},"sha256":"{sum}","data":{{"counters":{counters},"jobs":{jobs}}}}}"#
    )
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) const COUNTERS: &str = r#"{"a":1,"b":2}"#;
pub(crate) const JOBS: &str = r#"[{"id":1,"name":"one","weight":1.5}]"#;

pub(crate) fn nested(random: &mut Random) -> String {
    let depth = [10, 100, 119, 121, 127, 128, 129, 5_000, 50_000][random.below(9)];
    let (open, close) = [("[", "]"), ("{\"a\":", "}"), ("[", "")][random.below(3)];
    let deep = format!(
        "{}1{}",
        open.repeat(depth / open.len()),
        close.repeat(depth / open.len())
    );
    match random.below(4) {
        0 => envelope(&deep, JOBS),
        1 => envelope(COUNTERS, &deep),
        // Where serde skips it.
        2 => envelope(
            COUNTERS,
            &format!(r#"[{{"id":1,"name":"","weight":1,"other":{deep}}}]"#),
        ),
        _ => envelope_with(COUNTERS, JOBS, |head| {
            head.replacen('{', &format!(r#"{{"x":{deep},"#), 1)
        }),
    }
}

pub(crate) fn number(random: &mut Random) -> String {
    let number = match random.below(14) {
        0 => "1e999".to_owned(),
        1 => "-1e999".to_owned(),
        2 => "1e-999999999999".to_owned(),
        3 => "18446744073709551616".to_owned(),
        4 => "-1".to_owned(),
        5 => "9".repeat(1 + random.below(200_000)),
        6 => format!("0.{}", "3".repeat(random.below(200_000))),
        7 => format!("1e{}", "9".repeat(random.below(200_000))),
        8 => "NaN".to_owned(),
        9 => "00001".to_owned(),
        10 => "1.5".to_owned(),
        11 => format!("\"{}\"", "x".repeat(random.below(200_000))),
        12 => format!("\"{}\"", "\\n".repeat(random.below(100_000))),
        _ => random.next().to_string(),
    };
    let job = if number.starts_with('"') {
        format!(r#"[{{"id":1,"name":{number},"weight":1}}]"#)
    } else {
        format!(r#"[{{"id":1,"name":"n","weight":{number}}}]"#)
    };
    match random.below(2) {
        0 => envelope(&format!(r#"{{"a":{number}}}"#), JOBS),
        _ => envelope(COUNTERS, &job),
    }
}

pub(crate) fn ill_typed(random: &mut Random) -> String {
    let data = random.one_of(&[
        "null",
        "[]",
        "{}",
        "\"\"",
        "{",
        "]",
        "",
        " ",
        "[1,]",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1}}",
        "[{\"id\":1}]",
        "[{\"id\":1,\"id\":2,\"name\":\"\",\"weight\":0}]",
        "\"\\ud800\"",
        "[{\"id\":1,\"name\":\"\\ud83e\\udd80\",\"weight\":0}]",
        "\u{0}",
        "tru",
        "\"\\",
        "//",
        "[{\"id\":1,\"name\":\"\",\"weight\":0,\"tags\":[1]}]",
    ]);
    if random.below(2) == 0 {
        envelope(data, JOBS)
    } else {
        envelope(COUNTERS, data)
    }
}

pub(crate) fn lying(random: &mut Random) -> String {
    let (from, to) = [
        ("\"length\":13", "\"length\":14"),
        ("\"length\":13", "\"length\":0"),
        ("\"length\":13", "\"length\":18446744073709551615"),
        ("\"length\":13", "\"length\":18446744073709551616"),
        ("\"length\":13", "\"length\":-1"),
        ("\"name\":\"jobs\"", "\"name\":\"counters\""),
        ("\"name\":\"jobs\"", "\"name\":\"\""),
        ("\"name\":\"jobs\"", "\"name\":\"\\\",\\\"\""),
        ("\"version\":1", "\"version\":0"),
        ("\"version\":1", "\"version\":4294967295"),
        ("\"version\":1", "\"version\":4294967296"),
        ("\"generation\":0", "\"generation\":18446744073709551616"),
        ("\"generation\":0", "\"generation\":null"),
        ("\"participants\":[", "\"participants\":[{},"),
        (
            "\"application\":\"shop\"",
            "\"application\":\"shop\",\"application\":\"shop\"",
        ),
        ("\"created\":", "\"other\":"),
        ("\"created\":\"2026", "\"created\":\"yesterday"),
    ][random.below(17)];
    envelope_with(COUNTERS, JOBS, |head| head.replacen(from, to, 1))
}

pub(crate) fn garbled(random: &mut Random, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_owned();
    match random.below(6) {
        0 => {
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
        1 => bytes.truncate(random.below(good.len())),
        2 => {
            // Two parts change places.
            let mut cuts = [
                random.below(good.len()),
                random.below(good.len()),
                random.below(good.len()),
            ];
            cuts.sort_unstable();
            bytes[cuts[0]..cuts[2]].rotate_left(cuts[1] - cuts[0]);
        }
        3 => {
            let (from, to) = (random.below(good.len()), random.below(good.len()));
            drop(bytes.drain(from.min(to)..from.max(to)));
        }
        4 => {
            let (from, to) = (random.below(good.len()), random.below(good.len()));
            let part = good[from.min(to)..from.max(to)].to_owned();
            let at = random.below(good.len());
            drop(bytes.splice(at..at, part));
        }
        _ => {
            let length = random.below(2000);
            bytes = random.bytes(length);
        }
    }
    bytes
}

pub(crate) struct Bombs {
    plain: Vec<Vec<u8>>,
}

impl Bombs {
    /// Some kilobytes each, and up to 64 MiB when they are unpacked.
    pub(crate) fn new(good: &[u8]) -> Self {
        let start = String::from_utf8(good.to_owned()).unwrap();
        let start = &start[..start.find("\"data\":{").unwrap() + 8];
        let fill = |front: &str, with: u8, length: usize| {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(front.as_bytes()).unwrap();
            let block = vec![with; 64 * 1024];
            for _ in 0..length / block.len() {
                encoder.write_all(&block).unwrap();
            }
            encoder.finish().unwrap()
        };
        Self {
            plain: vec![
                fill("", b' ', 64 << 20),
                fill("", b'[', 16 << 20),
                fill(
                    "{\"format\":\"tower-ops-state\",\"version\":1,\"head\":",
                    b'[',
                    7 << 20,
                ),
                fill(start, b'[', 7 << 20),
                fill(start, b'1', 16 << 20),
                fill(start, 0, 7 << 20),
                gzip(&fill("", b'[', 16 << 20)),
            ],
        }
    }

    pub(crate) fn one(&self, random: &mut Random) -> Vec<u8> {
        let mut bomb = self.plain[random.below(self.plain.len())].clone();
        match random.below(4) {
            0 => bomb.truncate(random.below(bomb.len())),
            1 => {
                let at = random.below(bomb.len());
                bomb[at] ^= 1 << random.below(8);
            }
            2 => bomb.extend(bomb.clone()),
            _ => {}
        }
        bomb
    }
}
