//! Participants without their types.

use std::any::Any;
use std::future::Future;
use std::io::{BufReader, BufWriter, Read, Write};
use std::pin::Pin;

use serde::Serialize;

use crate::participant::{Participant, Refusal};
use crate::segments::Segments;

/// Not `Send`: made and awaited on the same thread.
pub(crate) type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
pub(crate) type Data = Box<dyn Snapshot>;

/// The data of one participant.
pub(crate) trait Snapshot: Send {
    fn write(&self, out: &mut dyn Write) -> serde_json::Result<()>;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

struct Typed<T>(T);

impl<T: Serialize + Send + 'static> Snapshot for Typed<T> {
    fn write(&self, out: &mut dyn Write) -> serde_json::Result<()> {
        // serde_json writes piece by piece, and each would be a call through `dyn`.
        let mut out = BufWriter::with_capacity(16 * 1024, out);
        serde_json::to_writer(&mut out, &self.0)?;
        out.flush().map_err(serde_json::Error::io)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.0)
    }
}

pub(crate) trait Member: Send + Sync {
    fn name(&self) -> &str;
    fn version(&self) -> u32;
    fn capture(&self) -> LocalFuture<'_, Result<Data, Refusal>>;
    /// Decodes, migrates and validates.
    fn prepare(&self, version: u32, json: Segments) -> LocalFuture<'_, Result<Data, Refusal>>;
    fn commit(&self, data: Data) -> LocalFuture<'_, Result<(), Refusal>>;
}

impl<P: Participant> Member for P {
    fn name(&self) -> &str {
        Participant::name(self)
    }

    fn version(&self) -> u32 {
        Participant::version(self)
    }

    fn capture(&self) -> LocalFuture<'_, Result<Data, Refusal>> {
        Box::pin(async {
            let data = Participant::capture(self).await?;
            Ok(Box::new(Typed(data)) as Data)
        })
    }

    fn prepare(&self, version: u32, json: Segments) -> LocalFuture<'_, Result<Data, Refusal>> {
        Box::pin(async move {
            let data = if version == Participant::version(self) {
                decode(json)?
            } else {
                let mut text = String::with_capacity(json.len());
                { json }.read_to_string(&mut text)?;
                self.migrate(version, &text)?
            };
            Participant::prepare(self, &data).await?;
            Ok(Box::new(Typed(data)) as Data)
        })
    }

    fn commit(&self, data: Data) -> LocalFuture<'_, Result<(), Refusal>> {
        Box::pin(async {
            match data.into_any().downcast::<P::Data>() {
                Ok(data) => Participant::commit(self, *data).await,
                // Every member gets only data that it made itself.
                Err(_) => Err(Refusal::new("the data belongs to another participant")),
            }
        })
    }
}

fn decode<T: serde::de::DeserializeOwned>(json: Segments) -> serde_json::Result<T> {
    match json.as_contiguous() {
        Some(slice) => serde_json::from_slice(slice),
        // Slower than from one slice, but each segment is freed as soon as it is read.
        None => serde_json::from_reader(BufReader::new(json)),
    }
}
