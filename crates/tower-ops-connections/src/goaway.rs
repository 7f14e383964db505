//! A GOAWAY frame between the frames of an HTTP/2 server that is out of reach.

/// Follows what a server writes on an HTTP/2 connection, to know where a frame ends.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Bytes of the current frame that are still to come.
    payload: u32,
    /// What has come of the next frame's header, which has 9 bytes.
    header: [u8; 9],
    filled: u8,
    begun: bool,
}

impl Frames {
    pub(crate) fn wrote(&mut self, mut bytes: &[u8]) {
        self.begun |= !bytes.is_empty();
        while !bytes.is_empty() {
            let payload = usize::try_from(self.payload).unwrap_or(usize::MAX);
            let skipped = payload.min(bytes.len());
            bytes = &bytes[skipped..];
            self.payload -= u32::try_from(skipped).unwrap_or(u32::MAX);
            if bytes.is_empty() {
                return;
            }
            let filled = usize::from(self.filled);
            let taken = (self.header.len() - filled).min(bytes.len());
            self.header[filled..filled + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.filled += u8::try_from(taken).unwrap_or(u8::MAX);
            if usize::from(self.filled) == self.header.len() {
                let [high, middle, low, ..] = self.header;
                self.payload = u32::from_be_bytes([0, high, middle, low]);
                self.filled = 0;
            }
        }
    }

    /// Whether a frame of ours may go out now: the server's SETTINGS have, which
    /// must be first (RFC 9113, section 3.4), and no other is half written.
    pub(crate) const fn is_between(&self) -> bool {
        self.begun && self.payload == 0 && self.filled == 0
    }
}

/// GOAWAY without an error, for all streams that there may ever be: the peer opens
/// no new one, and those it has, or opened just now, are served (RFC 9113, section
/// 6.8).
pub(crate) const GOAWAY: [u8; 17] = [
    0, 0, 8, // the length
    7, // GOAWAY
    0, // no flags
    0, 0, 0, 0, // the connection
    0x7f, 0xff, 0xff, 0xff, // the last stream
    0, 0, 0, 0, // no error
];

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, 0, 0, 0, 0, 0, 1];
        frame.resize(9 + usize::from(length), 7);
        frame
    }

    #[test]
    fn knows_where_frames_end_however_they_are_cut() {
        let lengths = [0, 1, 8, 200, 0, 17];
        let wire: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
        let ends: Vec<usize> = lengths
            .iter()
            .scan(0, |end, length| {
                *end += 9 + usize::from(*length);
                Some(*end)
            })
            .collect();
        for step in 1..20 {
            let mut frames = Frames::default();
            assert!(!frames.is_between(), "nothing was sent yet");
            for (index, piece) in wire.chunks(step).enumerate() {
                frames.wrote(piece);
                let written = (index * step + piece.len()).min(wire.len());
                assert_eq!(frames.is_between(), ends.contains(&written), "{written}");
            }
        }
    }
}
