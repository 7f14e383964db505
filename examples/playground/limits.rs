//! What a client may ask for is bounded.

use std::time::Duration;

use http::StatusCode;

/// The most chunks a client may ask for.
const MAX_CHUNKS: u64 = 1_000_000;
/// The longest wait a client may ask for: an hour.
const MAX_MS: u64 = 3_600_000;
/// The most bytes a client may ask for.
const MAX_BYTES: u64 = 100_000_000;

/// What a client did wrong, in words.
pub(crate) type Refusal = (StatusCode, String);

pub(crate) fn wait(ms: u64) -> Result<Duration, Refusal> {
    if ms > MAX_MS {
        return Err(refuse(format!("{ms} ms is too long: at most {MAX_MS}\n")));
    }
    Ok(Duration::from_millis(ms))
}

pub(crate) fn count(chunks: u64) -> Result<u64, Refusal> {
    if chunks > MAX_CHUNKS {
        return Err(refuse(format!(
            "{chunks} chunks are too many: at most {MAX_CHUNKS}\n"
        )));
    }
    Ok(chunks)
}

pub(crate) fn refuse(why: String) -> Refusal {
    (StatusCode::BAD_REQUEST, why)
}

pub(crate) fn bytes(bytes: u64) -> Result<u64, Refusal> {
    if bytes > MAX_BYTES {
        return Err(refuse(format!(
            "{bytes} bytes are too many: at most {MAX_BYTES}\n"
        )));
    }
    Ok(bytes)
}
