//! Received bytes in pieces of one size: growing copies nothing, and reading frees what was read.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{ErrorKind, StateError, StateResult};

pub(super) const SEGMENT: usize = 64 * 1024;

/// Collects bytes up to a limit. Beyond it, writing fails.
///
/// The bytes are copied: the received pieces may be small parts of large buffers, which would stay
/// in memory with them.
pub(crate) struct Collector {
    full: VecDeque<Bytes>,
    filling: BytesMut,
    limit: usize,
    is_over: bool,
}

impl Collector {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            full: VecDeque::new(),
            filling: BytesMut::new(),
            limit,
            is_over: false,
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

impl Write for Collector {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.limit - self.len() {
            self.is_over = true;
            return Err(io::Error::other("too large"));
        }
        let mut rest = data;
        while !rest.is_empty() {
            if self.filling.capacity() == 0 {
                self.filling = BytesMut::with_capacity(SEGMENT);
            }
            let room = SEGMENT - self.filling.len();
            let (fits, more) = rest.split_at(room.min(rest.len()));
            self.filling.extend_from_slice(fits);
            rest = more;
            if self.filling.len() == SEGMENT {
                let full = std::mem::take(&mut self.filling);
                self.full.push_back(full.freeze());
            }
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes in pieces, none of which is empty.
#[derive(Default)]
pub(crate) struct Segments {
    list: VecDeque<Bytes>,
}

impl Segments {
    /// Reads everything, up to a limit. `failed` makes the error of the reader.
    pub(crate) fn read_from(
        mut reader: impl Read,
        limit: usize,
        failed: impl FnOnce(io::Error) -> StateError,
    ) -> StateResult<Self> {
        let mut collector = Collector::new(limit);
        io::copy(&mut reader, &mut collector).map_err(|error| match collector.is_over {
            true => StateError::too_large(limit),
            false => failed(error),
        })?;
        Ok(collector.finish())
    }

    pub(crate) fn len(&self) -> usize {
        self.list.iter().map(Bytes::len).sum()
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.list.iter().map(|bytes| &**bytes)
    }

    /// All bytes, if they are one piece.
    pub(crate) fn as_contiguous(&self) -> Option<&[u8]> {
        let mut chunks = self.chunks();
        let first = chunks.next().unwrap_or_default();
        chunks.next().is_none().then_some(first)
    }

    /// Copies the first `length` bytes, or all if there are fewer.
    pub(crate) fn front(&self, length: usize) -> Vec<u8> {
        let mut front = Vec::with_capacity(length.min(self.len()));
        for chunk in self.chunks() {
            let wanted = length - front.len();
            front.extend_from_slice(&chunk[..wanted.min(chunk.len())]);
        }
        front
    }

    /// Splits off the first `length` bytes without a copy. Returns `None` if there are fewer.
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
        let list = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self {
            list: list.into_iter().collect(),
        }
    }
}

impl Read for Segments {
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

/// An envelope as it was received.
pub(crate) struct Received {
    pub(crate) envelope: Segments,
    pub(crate) is_gzip: bool,
}

impl Received {
    /// Decompresses, up to a limit. Blocks the thread. Frees the compressed text as it is read, so
    /// that both together are hardly larger than the limit.
    pub(crate) fn decode(self, limit: usize) -> StateResult<Segments> {
        #[cfg(feature = "compression")]
        if self.is_gzip {
            // Reads all members. What follows the last one is an error; it is not skipped.
            let decoder = flate2::read::MultiGzDecoder::new(self.envelope);
            return Segments::read_from(decoder, limit, unreadable);
        }
        let _ = limit;
        debug_assert!(!self.is_gzip);
        Ok(self.envelope)
    }
}

/// The error of a body that cannot be received or decompressed.
pub(crate) fn unreadable(error: impl fmt::Display) -> StateError {
    ErrorKind::Broken.error(format!("the body cannot be read: {error}"))
}
