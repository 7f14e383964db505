//! What comes of a request's body, plain or compressed.

use std::io::{self, Write};

use crate::error::{ErrorKind, StateError};
use crate::segments::{Collector, Segments};

/// So many bytes at once: compressed, they are at most a megabyte.
const PIECE: usize = 1024;

/// An envelope on its way, bounded by what it is when it is not compressed.
pub(crate) struct Received {
    limit: usize,
    coding: Coding,
}

enum Coding {
    Identity(Bounded),
    /// All members of it: what follows the last one is an error, and not skipped.
    #[cfg(feature = "compression")]
    Gzip(flate2::write::MultiGzDecoder<Bounded>),
}

#[derive(Default)]
struct Bounded {
    envelope: Collector,
    limit: usize,
    is_over: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.envelope.len() {
            self.is_over = true;
            return Err(io::Error::other("too large"));
        }
        self.envelope.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Received {
    pub(crate) fn new(limit: usize, is_compressed: bool) -> Self {
        let bounded = Bounded {
            envelope: Collector::default(),
            limit,
            is_over: false,
        };
        let coding = if is_compressed {
            Coding::compressed(bounded)
        } else {
            Coding::Identity(bounded)
        };
        Self { limit, coding }
    }

    fn bounded(&self) -> &Bounded {
        match &self.coding {
            Coding::Identity(bounded) => bounded,
            #[cfg(feature = "compression")]
            Coding::Gzip(decoder) => decoder.get_ref(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bounded().envelope.len()
    }

    /// Takes some of these bytes, and returns how many.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<usize, StateError> {
        let piece = &bytes[..bytes.len().min(PIECE * self.coding.pieces())];
        let written = match &mut self.coding {
            Coding::Identity(bounded) => bounded.write_all(piece),
            #[cfg(feature = "compression")]
            Coding::Gzip(decoder) => decoder.write_all(piece),
        };
        match written {
            Ok(()) => Ok(piece.len()),
            Err(_) if self.bounded().is_over => Err(StateError::too_large(self.limit)),
            Err(error) => Err(broken(&error)),
        }
    }

    pub(crate) fn finish(self) -> Result<Segments, StateError> {
        let (bounded, finished) = self.coding.finish();
        if bounded.is_over {
            return Err(StateError::too_large(self.limit));
        }
        finished.map_err(|error| broken(&error))?;
        Ok(bounded.envelope.finish())
    }
}

impl Coding {
    #[cfg(feature = "compression")]
    fn compressed(bounded: Bounded) -> Self {
        Self::Gzip(flate2::write::MultiGzDecoder::new(bounded))
    }

    /// Never asked for: a compressed body was refused by its head.
    #[cfg(not(feature = "compression"))]
    const fn compressed(bounded: Bounded) -> Self {
        Self::Identity(bounded)
    }

    fn finish(self) -> (Bounded, io::Result<()>) {
        match self {
            Self::Identity(bounded) => (bounded, Ok(())),
            #[cfg(feature = "compression")]
            Self::Gzip(mut decoder) => {
                let finished = decoder.try_finish();
                (std::mem::take(decoder.get_mut()), finished)
            }
        }
    }

    const fn pieces(&self) -> usize {
        match self {
            Self::Identity(_) => 64,
            #[cfg(feature = "compression")]
            Self::Gzip(_) => 1,
        }
    }
}

fn broken(error: &io::Error) -> StateError {
    let text = format!("the body cannot be read: {error}");
    StateError::new(ErrorKind::Broken, text)
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("a vector takes all");
        encoder.finish().expect("a vector takes all")
    }

    fn receive(body: &[u8], pieces: usize, limit: usize) -> Result<Vec<u8>, ErrorKind> {
        let mut received = Received::new(limit, true);
        for mut piece in body.chunks(pieces) {
            while !piece.is_empty() {
                let taken = received.push(piece).map_err(|error| error.kind())?;
                piece = &piece[taken..];
            }
        }
        let envelope = received.finish().map_err(|error| error.kind())?;
        Ok(envelope.chunks().collect::<Vec<_>>().concat())
    }

    #[test]
    fn all_members_are_read_and_anything_else_is_an_error() {
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
}
