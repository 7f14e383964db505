/// Returns the name that differs least, if it differs in less than half of its letters.
pub(super) fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    // What is longer than any name is near to none of them.
    let name: Vec<char> = name.chars().take(LONGEST).collect();
    known
        .map(|known| (distance(&name, known), known))
        .filter(|(distance, known)| distance * 2 <= known.len().max(name.len()))
        .min()
        .map(|(_, known)| known)
}

const LONGEST: usize = 64;

/// How many letters have to be added, left out or replaced (Levenshtein).
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (line, letter) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (place, other) in a.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Option<&'static str> {
        nearest(name, ["ops_addr", "pre_drain", "trace"].into_iter())
    }

    #[test]
    fn the_nearest_name_is_one_that_is_near() {
        for (name, expected) in [
            ("addr", Some("ops_addr")),
            ("predrain", Some("pre_drain")),
            ("tarce", Some("trace")),
            ("", None),
            ("colour", None),
            (&"x".repeat(1_000_000), None),
        ] {
            assert_eq!(of(name), expected, "{name:.20}");
        }
    }
}
