use std::time::Duration;

use tokio::time::Instant;

/// How long each part of a shutdown may take, on one clock that begins with the first trigger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    pub(crate) pre_drain: Duration,
    pub(crate) drain: Duration,
    pub(crate) abort: Duration,
    pub(crate) hooks: Duration,
    pub(crate) margin: Duration,
    pub(crate) grace_period: Duration,
}

/// The longest time of each part, so that no sum overflows a clock.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Timeline {
    /// What is wrong with it, in the words of the builder's settings.
    pub(crate) fn problems(&self, over_grace_period: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let times = [
            ("pre_drain", self.pre_drain),
            ("drain_timeout", self.drain),
            ("abort_timeout", self.abort),
            ("hooks_timeout", self.hooks),
            ("margin", self.margin),
            ("grace_period", self.grace_period),
        ];
        for (name, time) in times.iter().filter(|(_, time)| *time > LONGEST) {
            problems.push(format!("{name}: {time:?} is more than a day"));
        }
        let are_bounded = problems.is_empty();
        if self.hooks.is_zero() {
            problems.push("hooks_timeout: 0 s leaves no time for any hook".to_owned());
        }
        if are_bounded && !over_grace_period && self.total() > self.grace_period {
            problems.push(format!(
                "grace_period: {:?} is less than the {:?} that the shutdown may take (pre_drain \
                 {:?}, drain_timeout {:?}, abort_timeout {:?}, hooks_timeout {:?}, margin {:?}); \
                 shorten one, or raise the grace period where the process is killed, or use \
                 allow_over_grace_period(true)",
                self.grace_period,
                self.total(),
                self.pre_drain,
                self.drain,
                self.abort,
                self.hooks,
                self.margin,
            ));
        }
        problems
    }

    /// The whole shutdown, if no part ends early.
    pub(crate) fn total(&self) -> Duration {
        self.pre_drain + self.drain + self.abort + self.hooks + self.margin
    }

    /// When the process has to have exited.
    pub(crate) fn exit_deadline(&self, triggered: Instant) -> Instant {
        // Longer than the grace period only if the builder allows that.
        triggered + self.total().max(self.grace_period)
    }

    /// When a process that still runs will not exit by itself.
    pub(crate) fn overdue_at(&self, triggered: Instant) -> Instant {
        triggered + self.total() - self.margin + self.exiting()
    }

    /// How long a process whose shutdown is over may take to exit.
    pub(crate) fn exiting(&self) -> Duration {
        (self.margin / 2).max(Duration::from_millis(500))
    }

    pub(crate) fn pre_drain_until(&self, triggered: Instant) -> Instant {
        triggered + self.pre_drain
    }

    /// When a drain that begins now has to be over. If it begins late, it is cut short: the time of
    /// the hooks is kept.
    pub(crate) fn drain_until(&self, triggered: Instant, now: Instant) -> Instant {
        let latest = self.exit_deadline(triggered) - self.margin - self.hooks - self.abort;
        (now + self.drain).min(latest).max(now)
    }

    pub(crate) fn hooks_until(&self, triggered: Instant, now: Instant) -> Instant {
        let latest = self.exit_deadline(triggered) - self.margin;
        (now + self.hooks).min(latest).max(now)
    }
}

/// How much of the remaining time a hook gets, so that all `later` ones get their part, too.
/// Max-min fair: those that want less than an equal share get it, and the others share the rest
/// equally.
pub(crate) fn allot(remaining: Duration, timeout: Duration, later: &[Duration]) -> Duration {
    let mut all = later.to_vec();
    all.push(timeout);
    all.sort_unstable();
    let mut left = remaining;
    for (place, one) in all.iter().enumerate() {
        let sharers = u32::try_from(all.len() - place).unwrap_or(u32::MAX);
        let share = left / sharers;
        if *one > share {
            return timeout.min(share);
        }
        left -= *one;
    }
    timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const TIMELINE: Timeline = Timeline {
        pre_drain: secs(5),
        drain: secs(15),
        abort: secs(1),
        hooks: secs(5),
        margin: secs(2),
        grace_period: secs(30),
    };

    #[test]
    fn a_shutdown_that_is_taken_up_late_keeps_the_time_of_the_hooks() {
        let triggered = Instant::now();
        let at = |seconds| triggered + secs(seconds);
        let drain_until = |now| TIMELINE.drain_until(triggered, now) - triggered;
        assert_eq!(drain_until(at(5)), secs(20));
        assert_eq!(drain_until(at(6)), secs(21));
        assert_eq!(drain_until(at(20)), secs(22));
        assert_eq!(drain_until(at(25)), secs(25));
        let hooks_until = |now| TIMELINE.hooks_until(triggered, now) - triggered;
        assert_eq!(hooks_until(at(21)), secs(26));
        assert_eq!(hooks_until(at(25)), secs(28));
        assert_eq!(hooks_until(at(40)), secs(40));
    }

    #[test]
    fn a_timeline_over_the_grace_period_is_carried_out_in_full() {
        let long = Timeline {
            drain: secs(60),
            ..TIMELINE
        };
        let triggered = Instant::now();
        assert_eq!(long.exit_deadline(triggered) - triggered, secs(73));
        let now = triggered + secs(5);
        assert_eq!(long.drain_until(triggered, now) - triggered, secs(65));
    }

    #[test]
    fn each_hook_gets_its_timeout_or_its_share() {
        let part = |remaining, timeout, later: &[u64]| {
            let later: Vec<_> = later.iter().copied().map(secs).collect();
            allot(secs(remaining), secs(timeout), &later).as_secs_f64()
        };
        // Enough for all, or no other hook.
        assert_eq!(part(5, 2, &[3]), 2.0);
        assert_eq!(part(5, 5, &[]), 5.0);
        assert_eq!(part(5, 9, &[]), 5.0);
        // Equal parts.
        assert_eq!(part(6, 5, &[5, 5]), 2.0);
        // A hook with a short timeout gets it, first or last.
        assert_eq!(part(6, 1, &[9, 9]), 1.0);
        assert_eq!(part(7, 9, &[1, 9]), 3.0);
        assert_eq!(part(7, 9, &[9, 1]), 3.0);
        // No time left, or none needed.
        assert_eq!(part(0, 5, &[5]), 0.0);
        assert_eq!(part(5, 0, &[]), 0.0);
    }
}
