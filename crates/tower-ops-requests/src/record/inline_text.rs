use std::borrow::Cow;

/// The longest request id that is kept, in bytes.
pub(crate) const LONGEST_ID: usize = 128;
/// The longest path that is kept, in bytes.
pub(crate) const LONGEST_PATH: usize = 128;

/// The id and the path share this room. With an id of 64 bytes or less (a UUID has 36) a path may
/// have all of its 128 bytes, and 64 with any id.
const ROOM: usize = 192;

/// A request id and a path, both from a client, copied in place.
///
/// A slice of the request's head would keep the whole read buffer alive for as long as the history
/// lasts. In place, a record stays one allocation.
pub(crate) struct InlineText {
    bytes: [u8; ROOM],
    id: u8,
    path: u8,
    cut: bool,
}

impl InlineText {
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; ROOM],
        id: 0,
        path: 0,
        cut: false,
    };

    /// Replaces what was there.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both lengths are bounded by ROOM, which fits"
    )]
    pub(crate) fn fill(&mut self, id: &[u8], path: &str) {
        let id = &id[..id.len().min(LONGEST_ID)];
        let kept = floor_char_boundary(path, LONGEST_PATH.min(ROOM - id.len()));
        self.bytes[..id.len()].copy_from_slice(id);
        self.bytes[id.len()..id.len() + kept].copy_from_slice(&path.as_bytes()[..kept]);
        self.id = id.len() as u8;
        self.path = kept as u8;
        self.cut = kept < path.len();
    }

    /// `None` if there is none. Invalid UTF-8 is replaced.
    pub(crate) fn id(&self) -> Option<Cow<'_, str>> {
        (self.id > 0).then(|| String::from_utf8_lossy(self.id_bytes()))
    }

    pub(crate) fn id_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.id)]
    }

    pub(crate) fn path(&self) -> Option<Cow<'_, str>> {
        let path = &self.bytes[usize::from(self.id)..][..usize::from(self.path)];
        (self.path > 0).then(|| String::from_utf8_lossy(path))
    }

    /// Whether the path was longer than what is kept.
    pub(crate) const fn is_path_cut(&self) -> bool {
        self.cut
    }
}

/// The longest prefix of `text` that has at most `most` bytes.
pub(crate) fn bounded(text: &str, most: usize) -> &str {
    &text[..floor_char_boundary(text, most)]
}

// `str::floor_char_boundary` is newer than our oldest compiler.
fn floor_char_boundary(text: &str, most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    (0..=most)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl InlineText {
        fn new(id: &[u8], path: &str) -> Self {
            let mut text = Self::EMPTY;
            text.fill(b"what was there before", "/and/was/longer");
            text.fill(id, path);
            text
        }
    }

    #[test]
    fn keeps_an_id_and_a_path() {
        let text = InlineText::new(b"order-7", "/users/1");
        assert_eq!(text.id().unwrap(), "order-7");
        assert_eq!(text.path().unwrap(), "/users/1");
        assert!(!text.is_path_cut());
    }

    #[test]
    fn nothing_is_none() {
        assert!(InlineText::EMPTY.id().is_none());
        assert!(InlineText::EMPTY.path().is_none());
    }

    #[test]
    fn a_path_of_just_the_room_is_whole_and_one_more_byte_is_cut() {
        let id = [b'i'; 64];
        let path = "/".repeat(LONGEST_PATH);
        assert!(!InlineText::new(&id, &path).is_path_cut());
        let longer = InlineText::new(&id, &format!("{path}/"));
        assert!(longer.is_path_cut());
        assert_eq!(longer.path().unwrap(), path);
    }

    #[test]
    fn the_longest_id_leaves_room_for_a_path() {
        let text = InlineText::new(&[b'i'; 1_000], &"/".repeat(1_000));
        assert_eq!(text.id().unwrap().len(), LONGEST_ID);
        assert_eq!(text.path().unwrap().len(), ROOM - LONGEST_ID);
    }

    #[test]
    fn a_path_is_cut_between_characters() {
        let text = InlineText::new(b"", &format!("/{}", "ü".repeat(100)));
        let path = text.path().unwrap();
        assert_eq!(path.len(), LONGEST_PATH - 1);
        assert!(path.chars().all(|each| each == '/' || each == 'ü'));
    }

    #[test]
    fn an_id_that_is_no_text_is_shown_with_replacements() {
        assert_eq!(InlineText::new(b"a\xffb", "/").id().unwrap(), "a\u{fffd}b");
    }
}
