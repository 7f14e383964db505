use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};

use crate::id::RequestId;

/// Where new ids come from.
///
/// # Examples
///
/// ```
/// use tower_ops_request_id::Generator;
///
/// let sortable = Generator::uuid_v7();
/// assert_eq!(sortable.generate().as_str().len(), 36);
/// let own = Generator::from_fn(|| "always-the-same".parse().unwrap());
/// assert_eq!(own.generate().as_str(), "always-the-same");
/// ```
#[derive(Clone, Default)]
pub struct Generator(Kind);

#[derive(Clone, Default)]
enum Kind {
    #[default]
    V4,
    V7,
    Own(Arc<dyn Fn() -> RequestId + Send + Sync>),
}

impl Generator {
    /// Random UUIDs (RFC 9562, version 4). The default.
    #[must_use]
    pub const fn uuid_v4() -> Self {
        Self(Kind::V4)
    }

    /// UUIDs that begin with the time in milliseconds (RFC 9562, version 7), so
    /// that they sort by it. Costs a clock read more. The id reveals the time of the
    /// request to everyone who sees it.
    #[must_use]
    pub const fn uuid_v7() -> Self {
        Self(Kind::V7)
    }

    /// Your own. It runs on the request's task: it must be quick, and must not
    /// panic.
    #[must_use]
    pub fn from_fn(generate: impl Fn() -> RequestId + Send + Sync + 'static) -> Self {
        Self(Kind::Own(Arc::new(generate)))
    }

    /// A new id. An allocation and a system call for every 30th or so.
    #[must_use]
    pub fn generate(&self) -> RequestId {
        match &self.0 {
            Kind::V4 => v4(),
            Kind::V7 => v7(),
            Kind::Own(generate) => generate(),
        }
    }
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::V4 => "Generator::uuid_v4()",
            Kind::V7 => "Generator::uuid_v7()",
            Kind::Own(_) => "Generator::from_fn(..)",
        })
    }
}

/// The length of a UUID's text.
const LENGTH: usize = 36;
/// How many ids are made at once. Asked for one by one, the system call for their randomness costs
/// more than everything else that this crate does for a request.
///
/// They share one buffer. An id that lives long, with a stream, keeps the buffer alive; it is small
/// enough for one stream each to do that.
const AT_ONCE: usize = 28;

thread_local! {
    /// The texts of ids that are ready, one after the other.
    static READY: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

fn v4() -> RequestId {
    let ready = READY.try_with(|ready| {
        let ready = &mut *ready.borrow_mut();
        if ready.is_empty() {
            make(ready).ok()?;
        }
        Some(ready.split_to(LENGTH).freeze())
    });
    let text = ready.ok().flatten();
    RequestId::from_ascii(text.unwrap_or_else(|| {
        let [digits] = hex([unique()]);
        Bytes::copy_from_slice(&hyphenated(&digits))
    }))
    .expect("a UUID's text is visible ASCII of 36 bytes")
}

#[cold]
fn make(ready: &mut BytesMut) -> Result<(), getrandom::Error> {
    let mut random = [[0; 16]; AT_ONCE];
    getrandom::fill(random.as_flattened_mut())?;
    // The same buffer again, if no id of it is left.
    ready.reserve(AT_ONCE * LENGTH);
    for digits in hex(random) {
        ready.extend_from_slice(&hyphenated(&digits));
    }
    Ok(())
}

/// The hexadecimal digits, with the version and the variant of UUIDs of version 4.
fn hex<const N: usize>(mut bytes: [[u8; 16]; N]) -> [[u8; 32]; N] {
    for uuid in &mut bytes {
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
    }
    let mut digits = [[0; 32]; N];
    let pairs = digits.as_flattened_mut().chunks_exact_mut(2);
    for (pair, byte) in pairs.zip(bytes.as_flattened()) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 0xf);
    }
    digits
}

/// Without a table or a branch, so that many are done at once.
const fn digit(value: u8) -> u8 {
    const FROM_9_TO_A: u8 = b'a' - b'9' - 1;
    b'0' + value + FROM_9_TO_A * (value > 9) as u8
}

fn hyphenated(digits: &[u8; 32]) -> [u8; LENGTH] {
    let mut text = [b'-'; LENGTH];
    text[..8].copy_from_slice(&digits[..8]);
    text[9..13].copy_from_slice(&digits[8..12]);
    text[14..18].copy_from_slice(&digits[12..16]);
    text[19..23].copy_from_slice(&digits[16..20]);
    text[24..].copy_from_slice(&digits[20..]);
    text
}

/// The time in milliseconds in the place of the first 48 random bits.
fn v7() -> RequestId {
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    let mut time = [0; 16];
    time[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    let [digits] = hex([time]);
    let mut text = *v4()
        .as_str()
        .as_bytes()
        .first_chunk::<LENGTH>()
        .expect("a UUID's text has 36 bytes");
    text[..8].copy_from_slice(&digits[..8]);
    text[9..13].copy_from_slice(&digits[8..12]);
    text[14] = b'7';
    RequestId::copy(&text).expect("a UUID's text is visible ASCII of 36 bytes")
}

/// For a system that has no randomness to give: ids that are unique at least in
/// this process, since a request must not fail for want of an id.
#[cold]
fn unique() -> [u8; 16] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let count = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
    ((nanos << 64) | (nanos >> 64) ^ count).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::{Builder, Uuid};

    use super::*;

    #[test]
    fn ids_are_uuids_of_their_version_and_unique() {
        for (generator, version) in [(Generator::uuid_v4(), 4), (Generator::uuid_v7(), 7)] {
            let ids: HashSet<_> = (0..1_000).map(|_| generator.generate()).collect();
            assert_eq!(ids.len(), 1_000);
            for id in ids {
                let uuid = Uuid::parse_str(id.as_str()).unwrap();
                assert_eq!(uuid.get_version_num(), version);
                assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            }
        }
    }

    #[test]
    fn the_text_is_what_uuid_writes() {
        let mut bytes = [0; 16];
        for _ in 0..1_000 {
            getrandom::fill(&mut bytes).unwrap();
            let [digits] = hex([bytes]);
            let expected = Builder::from_random_bytes(bytes).into_uuid().to_string();
            assert_eq!(hyphenated(&digits), expected.as_bytes());
        }
    }

    #[test]
    fn ids_of_version_7_begin_with_the_time() {
        let id = Uuid::parse_str(v7().as_str()).unwrap();
        let (seconds, _) = id.get_timestamp().unwrap().to_unix();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(now.as_secs() - seconds <= 60);
    }

    #[test]
    fn without_randomness_ids_still_differ() {
        let ids: HashSet<_> = (0..1_000).map(|_| unique()).collect();
        assert_eq!(ids.len(), 1_000);
    }

    #[test]
    fn threads_do_not_share_what_is_ready() {
        let generate = || (0..100).map(|_| v4()).collect::<Vec<_>>();
        let other = std::thread::spawn(generate).join().unwrap();
        assert!(generate().iter().all(|id| !other.contains(id)));
    }
}
