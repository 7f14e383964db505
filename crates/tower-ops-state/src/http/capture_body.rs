//! The body of a capture, serialised while the client reads it.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tower_ops_core::panic;

use crate::audit::{AuditEntry, Outcome};
use crate::capture::{Capture, Captured, HandOver};

const CHUNK: usize = 64 * 1024;

/// How many chunks are serialised ahead of the client.
const AHEAD: usize = 2;

pub(super) struct CaptureBody {
    chunks: mpsc::Receiver<Chunk>,
    /// How many bytes are left, if that is known.
    left: Option<u64>,
    is_over: bool,
    entry: AuditEntry,
}

enum Chunk {
    More(Bytes),
    /// Without its last chunk an envelope is of no use.
    Last(Bytes, HandOver),
}

impl CaptureBody {
    /// Serialises on a thread that may block, as fast as the client reads.
    pub(super) fn send(captured: Captured, gzip: bool, idle: Duration, entry: AuditEntry) -> Self {
        let (sender, chunks) = mpsc::channel(AHEAD);
        let body = Self {
            chunks,
            left: (!gzip).then(|| captured.capture.size()),
            is_over: false,
            entry: entry.clone(),
        };
        let mut writer = ChunkWriter {
            filling: Vec::with_capacity(CHUNK),
            sender,
            runtime: Handle::current(),
            idle,
            failure: None,
        };
        spawn_blocking(move || {
            let Captured { capture, hand_over } = captured;
            // Serialising runs code of the application.
            let written = panic::catch(|| write(&capture, gzip, &mut writer));
            drop(capture);
            let failure = match written {
                Ok(Ok(())) => {
                    let last = std::mem::take(&mut writer.filling).into();
                    let sent = writer.send(Chunk::Last(last, hand_over));
                    sent.err().and(writer.failure)
                }
                Ok(Err(_)) | Err(_) => Some(writer.failure.unwrap_or(Outcome::FAILED)),
            };
            if let Some(failure) = failure {
                entry.end(failure);
            }
        });
        body
    }
}

fn write(capture: &Capture, gzip: bool, out: &mut ChunkWriter) -> io::Result<()> {
    #[cfg(feature = "compression")]
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
        capture.write_to(&mut encoder)?;
        return encoder.finish().map(drop);
    }
    debug_assert!(!gzip);
    capture.write_to(out)
}

struct ChunkWriter {
    filling: Vec<u8>,
    sender: mpsc::Sender<Chunk>,
    runtime: Handle,
    idle: Duration,
    failure: Option<Outcome>,
}

impl ChunkWriter {
    fn send(&mut self, chunk: Chunk) -> io::Result<()> {
        let sending = async { timeout(self.idle, self.sender.send(chunk)).await };
        self.failure = match self.runtime.block_on(sending) {
            Ok(Ok(())) => return Ok(()),
            // The body was dropped.
            Ok(Err(_)) => Some(Outcome::CANCELLED),
            Err(_) => Some(Outcome::TIMED_OUT),
        };
        self.idle = Duration::ZERO; // an encoder writes once more when it is dropped
        Err(io::Error::other("the client no longer reads"))
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is kept until more follows: the last chunk must be known as the last.
        if self.filling.len() == CHUNK {
            let full = std::mem::replace(&mut self.filling, Vec::with_capacity(CHUNK));
            self.send(Chunk::More(full.into()))?;
        }
        let count = bytes.len().min(CHUNK - self.filling.len());
        self.filling.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Body for CaptureBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let chunk = match ready!(self.chunks.poll_recv(cx)) {
            Some(Chunk::More(chunk)) => chunk,
            Some(Chunk::Last(chunk, hand_over)) => {
                // Before it is returned: from then on the other instance may have the state.
                hand_over.commit();
                self.entry.end(Outcome::OK);
                self.is_over = true;
                chunk
            }
            None => {
                self.is_over = true;
                let error = io::Error::other("the capture could not be written to its end");
                return Poll::Ready(Some(Err(error)));
            }
        };
        let length = chunk.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(length));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.is_over => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::new(),
        }
    }
}
