use std::fmt::Write;

use proptest::prelude::*;

use super::*;

fn escaped(text: &str, notation: Notation, limit: usize) -> (String, bool) {
    let mut out = Vec::new();
    let mut escape = Escape::new(&mut out, notation, limit);
    escape.push(text);
    let is_cut = escape.is_cut();
    (String::from_utf8(out).unwrap(), is_cut)
}

fn whole(text: &str, notation: Notation) -> String {
    let (escaped, is_cut) = escaped(text, notation, 1 << 20);
    assert!(!is_cut);
    escaped
}

#[test]
fn what_is_dangerous_is_spelled_out() {
    for (text, json, plain, quoted) in [
        ("plain", "plain", "plain", "plain"),
        (
            "größer 大 🦀",
            "größer 大 🦀",
            "größer 大 🦀",
            "größer 大 🦀",
        ),
        ("a\nb\r\tc", "a\\nb\\r\\tc", "a\\nb\\r\\tc", "a\\nb\\r\\tc"),
        (
            r#"say "x\y""#,
            r#"say \"x\\y\""#,
            r#"say "x\y""#,
            r#"say \"x\\y\""#,
        ),
        ("\0", "\\u0000", "\\u{0}", "\\u{0}"),
        ("\u{1b}[31m", "\\u001b[31m", "\\u{1b}[31m", "\\u{1b}[31m"),
        ("\u{7f}", "\\u007f", "\\u{7f}", "\\u{7f}"),
        ("\u{9b}31m", "\\u009b31m", "\\u{9b}31m", "\\u{9b}31m"),
        ("\u{85}", "\\u0085", "\\u{85}", "\\u{85}"),
        ("\u{a0}é", "\u{a0}é", "\u{a0}é", "\u{a0}é"),
        (
            "\u{2028}\u{2029}",
            "\\u2028\\u2029",
            "\\u{2028}\\u{2029}",
            "\\u{2028}\\u{2029}",
        ),
        (
            "\u{202e}x\u{2066}",
            "\\u202ex\\u2066",
            "\\u{202e}x\\u{2066}",
            "\\u{202e}x\\u{2066}",
        ),
        (
            "\u{200e}\u{200f}\u{61c}",
            "\\u200e\\u200f\\u061c",
            "\\u{200e}\\u{200f}\\u{61c}",
            "\\u{200e}\\u{200f}\\u{61c}",
        ),
        ("“x”…ب", "“x”…ب", "“x”…ب", "“x”…ب"),
    ] {
        assert_eq!(whole(text, Notation::Json), json);
        assert_eq!(whole(text, Notation::Text), plain);
        assert_eq!(whole(text, Notation::Quoted), quoted);
    }
}

#[test]
fn every_character_that_is_dangerous_is_escaped_and_no_other_is() {
    for character in (0..=0x1_ffff).filter_map(char::from_u32) {
        // Beside the fast path for eight bytes, and in it.
        for text in [
            format!("{character}"),
            format!("1234567{character}12345678"),
        ] {
            let json = whole(&text, Notation::Json);
            assert!(!json.chars().any(is_dangerous), "{character:?}");
            let is_escaped = json.contains('\\');
            let must_be = is_dangerous(character) || matches!(character, '"' | '\\');
            assert_eq!(is_escaped, must_be, "{character:?}");
            let back: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
            assert_eq!(back, text);
            let plain = whole(&text, Notation::Text);
            assert!(!plain.chars().any(is_dangerous), "{character:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    let mut out = Vec::new();
    let mut escape = Escape::new(&mut out, Notation::Json, 100);
    escape.push_bytes(b"a\xff\xc2b\xe2\x80\x1b\xf0\x9f\xa6\x80");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "a\u{fffd}\u{fffd}b\u{fffd}\\u001b🦀"
    );
}

#[test]
fn a_value_is_cut_between_characters_and_between_escapes() {
    assert_eq!(
        escaped("12345678", Notation::Json, 11),
        ("12345678".to_owned(), false)
    );
    assert_eq!(
        escaped("123456789", Notation::Json, 11),
        ("12345678…".to_owned(), true)
    );
    assert_eq!(
        escaped("1234567é", Notation::Json, 11),
        ("1234567…".to_owned(), true)
    );
    assert_eq!(
        escaped("123\n45", Notation::Json, 7),
        ("123…".to_owned(), true)
    );
    assert_eq!(
        escaped("\0\0\0", Notation::Json, 16),
        ("\\u0000\\u0000…".to_owned(), true)
    );
}

#[test]
fn formatting_ends_where_the_value_is_cut() {
    let mut out = Vec::new();
    let mut escape = Escape::new(&mut out, Notation::Json, 16);
    write!(escape, "{:?}", [0; 1000]).unwrap_err();
    assert!(escape.is_cut());
    assert_eq!(out.len(), 16);
}

proptest! {
    #[test]
    fn any_text_is_one_line_and_comes_back(text in ".*") {
        let json = whole(&text, Notation::Json);
        let back: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
        prop_assert_eq!(&back, &text);
        for notation in [Notation::Json, Notation::Text, Notation::Quoted] {
            let line = whole(&text, notation);
            prop_assert!(!line.chars().any(is_dangerous));
        }
    }

    #[test]
    fn any_bytes_in_any_pieces_are_valid_and_bounded(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40),
        limit in 3_usize..200,
    ) {
        for notation in [Notation::Json, Notation::Text, Notation::Quoted] {
            let mut out = Vec::new();
            let mut escape = Escape::new(&mut out, notation, limit);
            pieces.iter().for_each(|piece| escape.push_bytes(piece));
            let is_cut = escape.is_cut();
            prop_assert!(out.len() <= limit);
            let text = String::from_utf8(out).unwrap();
            prop_assert!(!text.chars().any(is_dangerous));
            prop_assert_eq!(is_cut, text.ends_with('…') && is_cut);
            if notation == Notation::Json {
                serde_json::from_str::<String>(&format!("\"{text}\"")).unwrap();
            }
        }
    }
}
