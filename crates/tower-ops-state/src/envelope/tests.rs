use std::io::{Read as _, Write as _};

use bytes::Bytes;

use super::segments::SEGMENT;
use super::*;

fn entry(name: &str, data: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        version: 1,
        length: data.len() as u64,
        sha256: sha256(data.as_bytes()),
    }
}

fn head(data: &[(&str, &str)]) -> Head {
    Head {
        application: "orders".to_owned(),
        application_version: "1.2.3".to_owned(),
        instance: "a".to_owned(),
        generation: 7,
        created: humantime::parse_rfc3339("2026-11-21T00:00:00.123Z").unwrap(),
        participants: data.iter().map(|(name, data)| entry(name, data)).collect(),
    }
}

fn text(data: &[(&str, &str)], key: Option<&SigningKey>) -> String {
    let mut text = head(data).front(key).unwrap();
    for (at, (name, data)) in data.iter().enumerate() {
        text += &Head::label(name, at == 0);
        text += data;
    }
    text + END
}

fn open(text: &str, key: Option<&SigningKey>) -> Result<Envelope, StateError> {
    Envelope::open(Bytes::copy_from_slice(text.as_bytes()).into(), key)
}

fn message(text: &str, key: Option<&SigningKey>) -> String {
    let error = open(text, key).err().expect("it is broken");
    assert_eq!(error.kind(), ErrorKind::Broken);
    error.message().to_owned()
}

const PARTS: &[(&str, &str)] = &[("a", "{\"x\":[1,2]}"), ("b", "null")];

#[test]
fn opens_what_was_written_and_it_is_json() {
    for text in [text(PARTS, None), text(&[], None)] {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["head"]["generation"], 7);
        open(&text, None).unwrap();
        open(text.trim_end(), None).unwrap();
    }
    let envelope = open(&text(PARTS, None), None).unwrap();
    assert_eq!(envelope.head.application, "orders");
    assert_eq!(envelope.data[0].front(99), PARTS[0].1.as_bytes());
    assert_eq!(envelope.data[1].front(99), PARTS[1].1.as_bytes());
}

#[test]
fn names_what_is_broken() {
    let good = text(PARTS, None);
    for (from, to, wanted) in [
        ("tower-ops-state", "tower-ops-stale", "not an envelope"),
        (
            "\"version\":1,\"head\"",
            "\"version\":2,\"head\"",
            "version 1",
        ),
        ("orders", "odders", "digest of its head"),
        ("[1,2]", "[1,3]", "a digest does not match"),
        ("[1,2]", "[1,2] ", "digest"),
        ("\"b\":null", "\"c\":null", "not as it was written"),
        ("}}\n", "}}\n\n", "text behind its end"),
        ("}}\n", "}} ", "text behind its end"),
        ("}}\n", "}", "not as it was written"),
        ("null}}\n", "", "truncated"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        let message = message(&bad, None);
        assert!(message.contains(wanted), "{from} {to}: {message}");
    }
    for length in 0..good.len() - 1 {
        open(&good[..length], None).err().expect("it is truncated");
    }
}

#[test]
fn a_head_that_lies_is_refused() {
    let twice = text(&[("a", "1"), ("a", "1")], None);
    assert!(message(&twice, None).contains("two participants"));
    let mut lying = head(PARTS);
    lying.participants[1].length = u64::MAX;
    let lying = lying.front(None).unwrap() + "\"a\":{\"x\":[1,2]},\"b\":null}}\n";
    assert!(message(&lying, None).contains("truncated"));
    let deep = "[".repeat(1_000_000);
    assert!(message(&text(&[("a", &deep)], None), None).contains("nested"));
}

#[test]
fn a_key_takes_only_what_it_signed() {
    let key = SigningKey::new(b"0123456789abcdef").unwrap();
    let other = SigningKey::new(b"fedcba9876543210").unwrap();
    let signed = text(PARTS, Some(&key));
    open(&signed, Some(&key)).unwrap();
    // Without a key the signature cannot be checked, and need not be.
    open(&signed, None).unwrap();
    assert!(message(&signed, Some(&other)).contains("another key"));
    assert!(message(&text(PARTS, None), Some(&key)).contains("not signed"));
}

#[test]
fn the_digest_is_that_of_the_data() {
    let (one, mut other) = (head(PARTS), head(PARTS));
    other.created += std::time::Duration::from_secs(1);
    assert_eq!(one.digest(), other.digest());
    other.participants[0].version = 2;
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn counts_brackets_that_are_open_and_not_in_a_string() {
    fn accepts(json: &str) -> bool {
        // Byte by byte, so that nothing depends on where a chunk ends.
        let mut nesting = Nesting::default();
        json.as_bytes().chunks(1).all(|byte| nesting.accepts(byte))
    }
    assert!(accepts(&"[".repeat(Nesting::DEEPEST)));
    assert!(!accepts(&"[".repeat(Nesting::DEEPEST + 1)));
    assert!(!accepts(&"{\"a\":[".repeat(Nesting::DEEPEST)));
    assert!(accepts(&"[],".repeat(1000)));
    assert!(accepts(&format!("\"{}\"", "[".repeat(1000))));
    assert!(accepts(&format!("\"\\\"{}\"", "[".repeat(1000))));
    assert!(!accepts(&format!("\"\\\\\"{}", "[".repeat(1000))));
}

fn collected(pieces: &[&[u8]]) -> Segments {
    let mut collector = Collector::new(usize::MAX);
    for piece in pieces {
        collector.write_all(piece).unwrap();
    }
    let length = collector.len();
    let segments = collector.finish();
    assert_eq!(segments.len(), length);
    segments
}

#[test]
fn what_goes_in_comes_out_whatever_the_pieces() {
    let all: Vec<u8> = (0..3 * SEGMENT + 7).map(|at| (at % 251) as u8).collect();
    for size in [1, 1000, SEGMENT - 1, SEGMENT, SEGMENT + 1, all.len()] {
        let mut segments = collected(&all.chunks(size).collect::<Vec<_>>());
        assert_eq!(segments.front(SEGMENT + 3), &all[..SEGMENT + 3]);
        let mut first = segments.split_to(SEGMENT + 3).unwrap();
        assert!(segments.split_to(all.len()).is_none());
        let mut out = Vec::new();
        first.read_to_end(&mut out).unwrap();
        segments.read_to_end(&mut out).unwrap();
        assert!(out == all, "in pieces of {size}");
    }
}

#[test]
fn one_piece_is_given_as_a_slice() {
    assert_eq!(Segments::default().as_contiguous(), Some(&b""[..]));
    assert_eq!(collected(&[b"ab", b"c"]).as_contiguous(), Some(&b"abc"[..]));
    let long = vec![0; SEGMENT + 1];
    assert_eq!(collected(&[&long]).as_contiguous(), None);
    assert_eq!(Segments::from(Bytes::new()).chunks().count(), 0);
}

#[test]
fn a_collector_stops_at_its_limit() {
    let mut collector = Collector::new(3);
    collector.write_all(b"abc").unwrap();
    collector.write_all(b"d").unwrap_err();
    assert_eq!(collector.finish().front(9), b"abc");
}

#[cfg(feature = "compression")]
#[test]
fn all_members_are_read_and_anything_else_is_an_error() {
    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn receive(body: &[u8], pieces: usize, limit: usize) -> Result<Vec<u8>, ErrorKind> {
        let pieces: Vec<_> = body.chunks(pieces).collect();
        let received = Received {
            envelope: collected(&pieces),
            is_gzip: true,
        };
        let envelope = received.decode(limit).map_err(|error| error.kind())?;
        Ok(envelope.chunks().collect::<Vec<_>>().concat())
    }

    let text: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    let (front, back) = text.split_at(70_000);
    let two = [gzip(front), gzip(back)].concat();
    for pieces in [1, 7, 1_000, usize::MAX] {
        assert_eq!(receive(&two, pieces, 1 << 20).unwrap(), text);
        for (name, bad) in [
            ("trailing", [&*two, b"x"].concat()),
            ("more trailing", [&*two, &[0; 100]].concat()),
            ("half a member", [&*two, &gzip(b"more")[..15]].concat()),
            ("cut", two[..two.len() - 1].to_vec()),
            ("empty", Vec::new()),
            ("plain", text.clone()),
        ] {
            let kind = receive(&bad, pieces, 1 << 20).unwrap_err();
            assert_eq!(kind, ErrorKind::Broken, "{name} {pieces}");
        }
        let kind = receive(&two, pieces, 100_000).unwrap_err();
        assert_eq!(kind, ErrorKind::TooLarge);
    }
}
