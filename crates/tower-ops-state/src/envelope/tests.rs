use bytes::Bytes;

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
        created: "2026-11-21T00:00:00Z".to_owned(),
        participants: data.iter().map(|(name, data)| entry(name, data)).collect(),
    }
}

fn text(data: &[(&str, &str)], key: Option<&SigningKey>) -> String {
    let mut text = head(data).front(key).unwrap();
    for (at, (name, data)) in data.iter().enumerate() {
        text += &Head::label(name, at == 0);
        text += data;
    }
    text + Head::end()
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
fn says_what_is_broken() {
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
        ("}}\n", "}}\n\n", "more behind its end"),
        ("}}\n", "}} ", "more behind its end"),
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
    // Who has no key cannot tell, and need not.
    open(&signed, None).unwrap();
    assert!(message(&signed, Some(&other)).contains("another key"));
    assert!(message(&text(PARTS, None), Some(&key)).contains("not signed"));
}

#[test]
fn the_digest_is_that_of_the_data() {
    let (one, mut other) = (head(PARTS), head(PARTS));
    other.created = "2027-01-01T00:00:00Z".to_owned();
    assert_eq!(one.digest(), other.digest());
    other.participants[0].version = 2;
    assert_ne!(one.digest(), other.digest());
}
