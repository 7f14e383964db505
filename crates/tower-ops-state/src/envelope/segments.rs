//! What was received, in pieces of one size: growing it copies nothing, and reading it
//! frees it.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes, BytesMut};

const SEGMENT: usize = 64 * 1024;

/// Takes what comes, however small the pieces: what is kept is as large as what came.
/// To keep the pieces themselves would keep the buffers that they are parts of.
#[derive(Default)]
pub(crate) struct Collector {
    full: VecDeque<Bytes>,
    filling: BytesMut,
}

impl Collector {
    pub(crate) fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.filling.capacity() == 0 {
                self.filling = BytesMut::with_capacity(SEGMENT);
            }
            let room = SEGMENT - self.filling.len();
            let (fits, rest) = data.split_at(room.min(data.len()));
            self.filling.extend_from_slice(fits);
            data = rest;
            if self.filling.len() == SEGMENT {
                self.full
                    .push_back(std::mem::take(&mut self.filling).freeze());
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.full.len() * SEGMENT + self.filling.len()
    }

    pub(crate) fn finish(mut self) -> Segments {
        if !self.filling.is_empty() {
            self.full.push_back(self.filling.freeze());
        }
        Segments { list: self.full }
    }
}

/// Bytes in pieces, none of them empty.
#[derive(Default)]
pub(crate) struct Segments {
    list: VecDeque<Bytes>,
}

impl Segments {
    pub(crate) fn len(&self) -> usize {
        self.list.iter().map(Bytes::len).sum()
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.list.iter().map(|bytes| &**bytes)
    }

    /// All of it, if it is one piece.
    pub(crate) fn as_contiguous(&self) -> Option<&[u8]> {
        match self.list.len() {
            0 => Some(&[]),
            1 => self.list.front().map(|bytes| &**bytes),
            _ => None,
        }
    }

    /// A copy of the first `length` bytes, or of all if there are fewer.
    pub(crate) fn front(&self, length: usize) -> Vec<u8> {
        let mut front = Vec::with_capacity(length.min(self.len()));
        for chunk in self.chunks() {
            let wanted = length - front.len();
            front.extend_from_slice(&chunk[..wanted.min(chunk.len())]);
        }
        front
    }

    /// Takes off the first `length` bytes, without a copy; `None` if there are fewer.
    pub(crate) fn split_to(&mut self, length: usize) -> Option<Self> {
        if length > self.len() {
            return None;
        }
        let mut taken = Self::default();
        let mut wanted = length;
        while wanted > 0 {
            let mut chunk = self.list.pop_front()?;
            if chunk.len() > wanted {
                taken.list.push_back(chunk.split_to(wanted));
                self.list.push_front(chunk);
                break;
            }
            wanted -= chunk.len();
            taken.list.push_back(chunk);
        }
        Some(taken)
    }
}

impl From<Bytes> for Segments {
    fn from(bytes: Bytes) -> Self {
        let list = if bytes.is_empty() {
            VecDeque::new()
        } else {
            VecDeque::from([bytes])
        };
        Self { list }
    }
}

impl io::Read for Segments {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(chunk) = self.list.front_mut() else {
            return Ok(0);
        };
        let count = chunk.len().min(buffer.len());
        chunk.copy_to_slice(&mut buffer[..count]);
        if chunk.is_empty() {
            self.list.pop_front();
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn collected(pieces: &[&[u8]]) -> Segments {
        let mut collector = Collector::default();
        for piece in pieces {
            collector.push(piece);
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
}
