//! The body of a request: received, decompressed, and bounded.

use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use bytes::Buf;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::BoxError;
use crate::envelope::{Collector, Segments};
use crate::error::{ErrorKind, StateError};

/// How many decompressed bytes are read before other tasks on the thread get their turn: a body
/// that is being decompressed never has to wait for anything.
const TURN: usize = 256 * 1024;

/// How many bytes are decompressed at once. They become at most a megabyte.
#[cfg(feature = "compression")]
const PIECE: usize = 1024;

/// Reads a body, and stops as soon as it is larger than the limit when decompressed.
pub(super) async fn receive<B>(
    body: B,
    is_compressed: bool,
    limit: usize,
    idle: Duration,
) -> Result<Segments, StateError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let mut decoder = Decoder::new(is_compressed, limit);
    let mut turn_ends = TURN;
    loop {
        let frame = timeout(idle, body.frame()).await.map_err(|_| {
            let text = format!("nothing more of the body came within {idle:?}");
            StateError::new(ErrorKind::TimedOut, text)
        })?;
        let Some(frame) = frame else {
            return decoder.finish();
        };
        let Ok(mut data) = frame.map_err(|error| unreadable(error.into()))?.into_data() else {
            continue;
        };
        while data.has_remaining() {
            let taken = decoder.push(data.chunk())?;
            data.advance(taken);
            if decoder.collector().len() >= turn_ends {
                turn_ends = decoder.collector().len() + TURN;
                yield_now().await;
            }
        }
    }
}

pub(super) struct Decoder {
    limit: usize,
    coding: Coding,
}

enum Coding {
    Identity(Collector),
    /// Reads all members. What follows the last one is an error; it is not skipped.
    #[cfg(feature = "compression")]
    Gzip(flate2::write::MultiGzDecoder<Collector>),
}

impl Decoder {
    pub(super) fn new(is_compressed: bool, limit: usize) -> Self {
        let collector = Collector::new(limit);
        let coding = match is_compressed {
            #[cfg(feature = "compression")]
            true => Coding::Gzip(flate2::write::MultiGzDecoder::new(collector)),
            // Without the feature a compressed body was refused before.
            _ => Coding::Identity(collector),
        };
        Self { limit, coding }
    }

    fn collector(&self) -> &Collector {
        match &self.coding {
            Coding::Identity(collector) => collector,
            #[cfg(feature = "compression")]
            Coding::Gzip(decoder) => decoder.get_ref(),
        }
    }

    /// Takes some of these bytes, and returns how many.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<usize, StateError> {
        let (piece, written) = match &mut self.coding {
            Coding::Identity(collector) => (bytes, collector.write_all(bytes)),
            #[cfg(feature = "compression")]
            Coding::Gzip(decoder) => {
                let piece = &bytes[..bytes.len().min(PIECE)];
                (piece, decoder.write_all(piece))
            }
        };
        let taken = piece.len();
        check(written, self.collector(), self.limit)?;
        Ok(taken)
    }

    pub(super) fn finish(self) -> Result<Segments, StateError> {
        let (collector, finished) = match self.coding {
            Coding::Identity(collector) => (collector, Ok(())),
            #[cfg(feature = "compression")]
            Coding::Gzip(mut decoder) => {
                let finished = decoder.try_finish();
                let collector = std::mem::replace(decoder.get_mut(), Collector::new(0));
                (collector, finished)
            }
        };
        check(finished, &collector, self.limit)?;
        Ok(collector.finish())
    }
}

fn check(written: io::Result<()>, to: &Collector, limit: usize) -> Result<(), StateError> {
    written.map_err(|error| {
        if to.is_over() {
            StateError::too_large(limit)
        } else {
            unreadable(error.into())
        }
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the error of others, boxed"
)]
fn unreadable(error: BoxError) -> StateError {
    let text = format!("the body cannot be read: {error}");
    StateError::new(ErrorKind::Broken, text)
}
