//! `list` the stacks, `run` one for callgrind to count, or `time` one.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use tokio::{runtime::Runtime, time::Instant};
use tower_ops_benches::{STACKS, Stack, Workload};

const USAGE: &str = "usage: tower-ops-bench list | run STACK REQUESTS | time STACK";

const WARM_UP: usize = 1_000;

const SAMPLES: usize = 15;
const SAMPLE: Duration = Duration::from_millis(60);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["list"] => list(),
        ["run", name, requests] => match (Stack::find(name), requests.parse()) {
            (Some(stack), Ok(requests)) => run(stack, requests),
            _ => Err(io::Error::other(USAGE)),
        },
        ["time", name] => Stack::find(name).map_or_else(|| Err(io::Error::other(USAGE)), time),
        _ => Err(io::Error::other(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// One line a stack, for `scripts/bench`: name, base, counts, title, with tabs between.
fn list() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Stack {
        name,
        title,
        base,
        counts,
        ..
    } in STACKS
    {
        writeln!(out, "{name}\t{base}\t{counts}\t{title}")?;
    }
    Ok(())
}

fn run(stack: &Stack, requests: usize) -> io::Result<()> {
    let runtime = Workload::runtime()?;
    let workload = enter(stack, &runtime);
    // What happens once must not be counted: filling tables, calibrating clocks.
    workload.run(&runtime, WARM_UP);
    counted(&workload, &runtime, requests);
    Ok(())
}

/// The one function in which callgrind counts, by its name.
#[inline(never)]
fn counted(workload: &Workload, runtime: &Runtime, requests: usize) {
    workload.run(runtime, requests);
}

/// Prints the median of this process's samples, in nanoseconds a request.
fn time(stack: &Stack) -> io::Result<()> {
    let runtime = Workload::runtime()?;
    let workload = enter(stack, &runtime);
    let per_request = |requests: usize| {
        let start = Instant::now();
        workload.run(&runtime, requests);
        start.elapsed().as_secs_f64() * 1e9 / requests as f64
    };

    per_request(50_000);
    let requests = (SAMPLE.as_secs_f64() * 1e9 / per_request(20_000)) as usize;
    let mut samples = Vec::new();
    // A sample during which this thread stood in the queue for a core says more about the machine than
    // about the stack. On a machine that is never quiet enough, such samples are better than none.
    for attempt in 0.. {
        let before = waited();
        let sample = per_request(requests);
        let disturbed = waited().saturating_sub(before) > SAMPLE / 100;
        if !disturbed || attempt >= 3 * SAMPLES {
            samples.push(sample);
        }
        if samples.len() == SAMPLES {
            break;
        }
    }
    samples.sort_by(f64::total_cmp);
    writeln!(io::stdout(), "{:.0}", samples[SAMPLES / 2])
}

fn enter(stack: &Stack, runtime: &Runtime) -> Workload {
    // A recorder may spawn its upkeep when it is installed.
    let _guard = runtime.enter();
    stack.build()
}

/// How long this thread has waited for a core, as Linux tells; nothing elsewhere.
fn waited() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = schedstat
        .split(' ')
        .nth(1)
        .and_then(|waited| waited.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
