//! How deep JSON is nested, in one pass and constant memory.
//!
//! serde_json bounds the depth of what it decodes, but not of what it skips, and there
//! remembers each bracket.

/// Below serde_json's own limit, so that there is one answer for both.
const DEEPEST: usize = 120;

#[derive(Default)]
pub(crate) struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Whether it is not too deep yet. What is no JSON may count as anything.
    pub(crate) fn accepts(&mut self, chunk: &[u8]) -> bool {
        for &byte in chunk {
            if self.escaped {
                self.escaped = false;
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'[' | b'{' if !self.in_string => {
                    self.depth += 1;
                    if self.depth > DEEPEST {
                        return false;
                    }
                }
                b']' | b'}' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(json: &str) -> bool {
        // Byte by byte, so that nothing depends on where a chunk ends.
        let mut nesting = Nesting::default();
        json.as_bytes().chunks(1).all(|byte| nesting.accepts(byte))
    }

    #[test]
    fn counts_brackets_that_are_open_and_not_in_a_string() {
        assert!(accepts(&"[".repeat(DEEPEST)));
        assert!(!accepts(&"[".repeat(DEEPEST + 1)));
        assert!(!accepts(&"{\"a\":[".repeat(DEEPEST)));
        assert!(accepts(&"[],".repeat(1000)));
        assert!(accepts(&format!("\"{}\"", "[".repeat(1000))));
        assert!(accepts(&format!("\"\\\"{}\"", "[".repeat(1000))));
        assert!(!accepts(&format!("\"\\\\\"{}", "[".repeat(1000))));
    }
}
