use std::borrow::Cow;

/// The longest request id that is kept, in bytes.
pub(crate) const LONGEST_ID: usize = 128;
/// The longest path that is kept, in bytes.
pub(crate) const LONGEST_PATH: usize = 128;

/// What an id leaves to the path is 64 bytes at least, and all of 128 with an id
/// of up to 64: a UUID has 36.
const ROOM: usize = 192;

/// A request id and a path, copied: a slice of the request's head would keep the
/// whole buffer that it was read into alive for as long as the history lasts.
///
/// In place, so that a record stays one allocation. Both are text from a client.
pub(crate) struct Texts {
    bytes: [u8; ROOM],
    id: u8,
    path: u8,
    cut: bool,
}

impl Texts {
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; ROOM],
        id: 0,
        path: 0,
        cut: false,
    };

    /// Takes these in place of what was there before.
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

    /// `None` if there is none. What is no UTF-8 is replaced.
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

    /// Whether the path was longer.
    pub(crate) const fn is_path_cut(&self) -> bool {
        self.cut
    }
}

/// The longest start of `text` of at most `most` bytes.
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

    impl Texts {
        fn new(id: &[u8], path: &str) -> Self {
            let mut texts = Self::EMPTY;
            texts.fill(b"what was there before", "/and/was/longer");
            texts.fill(id, path);
            texts
        }
    }

    #[test]
    fn keeps_an_id_and_a_path() {
        let texts = Texts::new(b"order-7", "/users/1");
        assert_eq!(texts.id().unwrap(), "order-7");
        assert_eq!(texts.path().unwrap(), "/users/1");
        assert!(!texts.is_path_cut());
    }

    #[test]
    fn nothing_is_none() {
        assert!(Texts::EMPTY.id().is_none());
        assert!(Texts::EMPTY.path().is_none());
    }

    #[test]
    fn a_path_of_just_the_room_is_whole_and_one_more_byte_is_cut() {
        let id = [b'i'; 64];
        let path = "/".repeat(LONGEST_PATH);
        assert!(!Texts::new(&id, &path).is_path_cut());
        let longer = Texts::new(&id, &format!("{path}/"));
        assert!(longer.is_path_cut());
        assert_eq!(longer.path().unwrap(), path);
    }

    #[test]
    fn the_longest_id_leaves_room_for_a_path() {
        let texts = Texts::new(&[b'i'; 1_000], &"/".repeat(1_000));
        assert_eq!(texts.id().unwrap().len(), LONGEST_ID);
        assert_eq!(texts.path().unwrap().len(), ROOM - LONGEST_ID);
    }

    #[test]
    fn a_path_is_cut_between_characters() {
        let texts = Texts::new(b"", &format!("/{}", "ü".repeat(100)));
        let path = texts.path().unwrap();
        assert_eq!(path.len(), LONGEST_PATH - 1);
        assert!(path.chars().all(|each| each == '/' || each == 'ü'));
    }

    #[test]
    fn an_id_that_is_no_text_is_shown_with_replacements() {
        assert_eq!(Texts::new(b"a\xffb", "/").id().unwrap(), "a\u{fffd}b");
    }
}
