//! The cost of a pass of the reaper, and of the registration of a connection:
//!
//! ```text
//! cargo bench -p tower-ops-connections --features bench
//! ```

#![allow(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::disallowed_types, reason = "measures, and no runtime is there")]

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use tower_ops_connections::bench::Records;

const PASSES: u64 = 41;
const PAIRS: u32 = 200_000;

fn main() {
    println!(
        "{:>9}  {:>9}  {:>9}  {:>13}",
        "records", "median", "worst", "longest lock"
    );
    for count in [10_000, 100_000, 1_000_000] {
        let records = Records::register(count);
        // As with the defaults: a pass each second, and each connection is looked at
        // every five to ten.
        let mut passes: Vec<_> = (1..=PASSES)
            .map(|second| records.pass(Duration::from_secs(second)))
            .collect();
        passes.sort_unstable();
        let longest = passes.iter().map(|(_, lock)| *lock).max();
        println!(
            "{count:>9}  {:>6.2} ms  {:>6.2} ms  {:>10.2} ms",
            millis(passes[passes.len() / 2].0),
            millis(passes[passes.len() - 1].0),
            millis(longest.unwrap_or_default()),
        );
    }
    println!("\nto register and drop one, beside 100,000 others");
    let records = Records::register(100_000);
    for threads in [1, 2] {
        let barrier = Barrier::new(threads);
        let took: Duration = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let begun = Instant::now();
                        for _ in 0..PAIRS {
                            records.come_and_go();
                        }
                        begun.elapsed()
                    })
                })
                .collect();
            let each = threads.into_iter().map(|thread| thread.join());
            each.map(|took| took.expect("no panic")).sum()
        });
        let count = u32::try_from(threads).expect("two") * PAIRS;
        println!("{threads} threads: {:?} each", took / count);
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
