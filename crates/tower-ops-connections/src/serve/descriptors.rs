//! The default of `max_connections`, by the limit of file descriptors.

/// How many are left to everything else at least: files, upstreams, the operations endpoint.
const LEAST_LEFT: u64 = 128;

/// Above this limit, other resources are exhausted first.
const UNLIMITED: u64 = 1 << 20;

/// Returns the number of connections that leaves a quarter of the descriptors, and at least 128, to
/// everything else: if health checks cannot open a connection, or probes cannot be accepted, a
/// healthy process is restarted. `None` if there is practically no limit.
pub(crate) fn room_for_connections() -> Option<usize> {
    room(limit()?)
}

fn room(limit: u64) -> Option<usize> {
    if limit > UNLIMITED {
        return None;
    }
    let left = (limit / 4).max(LEAST_LEFT);
    // With next to none, half of them.
    let room = limit.saturating_sub(left).max(limit / 2).max(1);
    usize::try_from(room).ok()
}

#[cfg(unix)]
fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
const fn limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_and_128_at_least_are_left() {
        for (limit, expected) in [
            (1_024, Some(768)),
            (65_536, Some(49_152)),
            (256, Some(128)),
            (100, Some(50)),
            (0, Some(1)),
            (1 << 20, Some(786_432)),
            (1 << 30, None),
            (u64::MAX, None),
        ] {
            assert_eq!(room(limit), expected, "{limit}");
        }
    }
}
