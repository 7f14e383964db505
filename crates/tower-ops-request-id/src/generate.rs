use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{Builder, Uuid, fmt::Hyphenated};

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
    /// that they sort by it. Costs a clock read more. Tells the time of the
    /// request to whoever sees the id.
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
        let uuid = match &self.0 {
            Kind::V4 => Builder::from_random_bytes(random()).into_uuid(),
            Kind::V7 => {
                let [.., a, b, c, d, e, f, g, h, i, j] = random();
                let millis = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
                Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j])
                    .into_uuid()
            }
            Kind::Own(generate) => return generate(),
        };
        from_uuid(uuid)
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

fn from_uuid(uuid: Uuid) -> RequestId {
    RequestId::from_ascii(&hyphenated(uuid)).expect("a UUID's text is visible ASCII of 36 bytes")
}

/// The UUID's text, as `Hyphenated::encode_lower` writes it at twice the cost.
fn hyphenated(uuid: Uuid) -> [u8; Hyphenated::LENGTH] {
    const DIGITS: [[u8; 2]; 256] = {
        let hex = b"0123456789abcdef";
        let mut digits = [[0; 2]; 256];
        let mut byte = 0;
        while byte < 256 {
            digits[byte] = [hex[byte >> 4], hex[byte & 15]];
            byte += 1;
        }
        digits
    };
    // Where each byte's digits go, with the hyphens between.
    const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut text = [b'-'; Hyphenated::LENGTH];
    for (byte, at) in uuid.as_bytes().iter().zip(AT) {
        text[at..at + 2].copy_from_slice(&DIGITS[usize::from(*byte)]);
    }
    text
}

const POOL: usize = 512;

thread_local! {
    // One system call fills a pool for 32 ids: asked for one by one, the call
    // costs more than everything else that this crate does for a request.
    static RANDOM: RefCell<([u8; POOL], usize)> = const { RefCell::new(([0; POOL], POOL)) };
}

fn random() -> [u8; 16] {
    RANDOM
        .try_with(|pool| {
            let (bytes, used) = &mut *pool.borrow_mut();
            if *used == POOL {
                getrandom::fill(bytes).ok()?;
                *used = 0;
            }
            let id = bytes[*used..].first_chunk().copied();
            *used += 16;
            id
        })
        .ok()
        .flatten()
        .unwrap_or_else(unique)
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
        for _ in 0..1_000 {
            let uuid = Uuid::from_bytes(random());
            let mut expected = [0; Hyphenated::LENGTH];
            uuid.hyphenated().encode_lower(&mut expected);
            assert_eq!(hyphenated(uuid), expected);
        }
    }

    #[test]
    fn without_randomness_ids_still_differ() {
        let ids: HashSet<_> = (0..1_000).map(|_| unique()).collect();
        assert_eq!(ids.len(), 1_000);
    }

    #[test]
    fn threads_do_not_share_a_pool() {
        let generate = || (0..100).map(|_| random()).collect::<Vec<_>>();
        let other = std::thread::spawn(generate).join().unwrap();
        assert!(generate().iter().all(|id| !other.contains(id)));
    }
}
