/// What is kept of a text from a client, in bytes.
pub(crate) const LONGEST: usize = 512;

/// Returns the first 512 bytes of a text, or fewer where a character would be cut: what a span or an
/// access event keeps of a text that a client chooses.
///
/// A path may have 64 KiB, and spans wait in a queue: without a bound, a client could fill the memory
/// while a collector is down.
///
/// # Examples
///
/// ```
/// let path = "/é".repeat(300);
/// assert_eq!(tower_ops_trace::truncated("/users/7"), "/users/7");
/// assert_eq!(tower_ops_trace::truncated(&path).len(), 511);
/// ```
#[must_use]
#[inline]
pub fn truncated(text: &str) -> &str {
    if text.len() <= LONGEST {
        return text;
    }
    // `str::floor_char_boundary` needs Rust 1.91. A character has four bytes at most.
    let end = (LONGEST - 3..=LONGEST).rev();
    let end = end.into_iter().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}
