//! `list` the stacks and servers, `run` a stack for callgrind to count, `time` one, or `serve`.

use std::{
    io::{self, Read, Write},
    process::{self, ExitCode},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::{net::TcpListener, runtime::Builder, time::Instant};
use tower_ops_benches::{Client, SERVED, STACKS, Served, Stack, Workload};

const USAGE: &str = "usage: tower-ops-bench list | run STACK REQUESTS | time STACK | serve SERVER";

/// Fills tables, calibrates clocks, and drains a recorder once.
const WARM_UP: usize = 2_000;

const SAMPLES: usize = 15;
const SAMPLE: Duration = Duration::from_millis(60);
const TIMED_WARM_UP: usize = 50_000;

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
        ["serve", name] => Served::find(name).map_or_else(|| Err(io::Error::other(USAGE)), serve),
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

/// One line a stack or server, for `scripts/bench`, with tabs between: name, title, and for a stack its
/// base, counts, and the bounds of instructions and allocations if there are any.
fn list() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for stack in STACKS {
        let Stack {
            name,
            title,
            base,
            counts,
            ..
        } = stack;
        write!(out, "{name}\t{title}\t{base}\t{counts}")?;
        if let Some(bound) = stack.bound {
            write!(out, "\t{}\t{}", bound.instructions, bound.allocations)?;
        }
        writeln!(out)?;
    }
    for served in SERVED {
        writeln!(out, "{}\t{}", served.name, served.title)?;
    }
    Ok(())
}

fn run(stack: &Stack, requests: usize) -> io::Result<()> {
    let runtime = Workload::runtime()?;
    let workload = stack.build(&runtime);
    let mut client = workload.client(runtime);
    client.run(WARM_UP);
    measured(&mut client, requests);
    Ok(())
}

/// `scripts/bench` has callgrind begin with this function, by its name.
#[inline(never)]
fn measured(client: &mut Client<'_>, requests: usize) {
    client.run(requests);
}

/// Prints nanoseconds a request, a tab, and how many times as many requests two threads make as one does:
/// the medians of this process's samples. With only one core there is no second figure.
fn time(stack: &Stack) -> io::Result<()> {
    let cores = cores()?;
    let (&core, others) = cores.split_last().ok_or(io::ErrorKind::NotFound)?;
    pin(core)?;
    let runtime = Workload::runtime()?;
    let workload = stack.build(&runtime);
    let mut client = workload.client(runtime);
    client.run(TIMED_WARM_UP);

    let (mut alone, mut together) = (Samples::default(), Samples::default());
    thread::scope(|scope| {
        let (start, starts) = mpsc::channel();
        let (report, reports) = mpsc::channel();
        let second = others.first().map(|&core| {
            let workload = &workload;
            scope.spawn(move || second(workload, core, &starts, &report))
        });
        // By turns: what changes meanwhile changes both.
        while !alone.are_enough() || (second.is_some() && !together.are_enough()) {
            alone.take(sample(&mut client, Instant::now() + SAMPLE));
            if second.is_some() {
                let deadline = Instant::now() + SAMPLE;
                start.send(deadline).map_err(io::Error::other)?;
                let first = sample(&mut client, deadline);
                let second = reports.recv().map_err(io::Error::other)?;
                together.take(Sample {
                    rate: first.rate + second.rate,
                    disturbed: first.disturbed || second.disturbed,
                });
            }
        }
        drop(start);
        second.map_or(Ok(()), |second| second.join().expect("no panic"))
    })?;
    let one = alone.median();
    write!(io::stdout(), "{:.0}", 1e9 / one)?;
    if !others.is_empty() {
        write!(io::stdout(), "\t{:.3}", together.median() / one)?;
    }
    writeln!(io::stdout())
}

/// Sends requests on a thread of its own until each deadline that comes.
fn second(
    workload: &Workload,
    core: usize,
    starts: &mpsc::Receiver<Instant>,
    report: &mpsc::Sender<Sample>,
) -> io::Result<()> {
    pin(core)?;
    let mut client = workload.second_client(Workload::runtime()?);
    client.run(TIMED_WARM_UP);
    for deadline in starts {
        let sample = sample(&mut client, deadline);
        report.send(sample).map_err(io::Error::other)?;
    }
    Ok(())
}

/// What one thread did until a deadline.
#[derive(Clone, Copy)]
struct Sample {
    /// Requests a second.
    rate: f64,
    /// Whether the thread stood in the queue for its core, which says more about the machine than about
    /// the stack.
    disturbed: bool,
}

fn sample(client: &mut Client<'_>, deadline: Instant) -> Sample {
    let before = waited();
    let start = Instant::now();
    let sent = client.run_until(deadline);
    Sample {
        rate: sent as f64 / start.elapsed().as_secs_f64(),
        disturbed: waited().saturating_sub(before) > SAMPLE / 100,
    }
}

#[derive(Default)]
struct Samples {
    rates: Vec<f64>,
    attempts: usize,
}

impl Samples {
    /// On a machine that is never quiet enough, disturbed samples are better than none.
    fn take(&mut self, sample: Sample) {
        self.attempts += 1;
        if !sample.disturbed || self.attempts > 2 * SAMPLES {
            self.rates.push(sample.rate);
        }
    }

    fn are_enough(&self) -> bool {
        self.rates.len() >= SAMPLES
    }

    fn median(mut self) -> f64 {
        self.rates.sort_by(f64::total_cmp);
        self.rates[self.rates.len() / 2]
    }
}

/// The cores that this process may use.
fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect())
}

/// Keeps this thread on that core.
fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Serves on a port that the system chooses and this prints, until standard input ends.
fn serve(served: &Served) -> io::Result<()> {
    // Also if the script is killed, no server is left behind.
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(0);
    });
    // One thread: the CPU time of several would depend on how often they wait for each other.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        let served = served.serve(listener).await;
        served.map_err(|error| io::Error::other(error.to_string()))
    })
}

/// How long this thread has waited for a core, as Linux counts; nothing elsewhere.
fn waited() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = schedstat
        .split(' ')
        .nth(1)
        .and_then(|waited| waited.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
