use std::io::{self, BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

#[cfg(test)]
mod tests;

const POLL_EVERY: Duration = Duration::from_millis(10);

/// Runs a command as a child that does not outlive this value.
///
/// What the child prints is captured, and shown when a wait fails. Only the child itself is
/// killed on drop, not what it started in turn.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// use tower_ops_testing::{Process, free_addr};
///
/// let addr = free_addr();
/// let mut command = Process::example("quickstart");
/// command.env("ADDR", addr.to_string());
/// let mut process = Process::spawn(command)?;
/// process.wait_accepting(addr, Duration::from_secs(10)).await;
/// process.terminate()?;
/// assert!(process.wait_exit(Duration::from_secs(10)).await.success());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Returns the command of an example, or of a program, that was built next to the running
    /// test.
    ///
    /// # Panics
    ///
    /// If the example is not built.
    #[must_use]
    pub fn example(name: &str) -> Command {
        let test = std::env::current_exe().expect("the path of the running test");
        // Tests lie in `<profile>/deps`, examples in `<profile>/examples`.
        let profile = test.parent().and_then(|deps| deps.parent());
        let profile = profile.expect("a test within a target directory");
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        let places = [profile.join("examples").join(&file), profile.join(&file)];
        let built = places.iter().find(|place| place.is_file());
        Command::new(built.unwrap_or_else(|| {
            panic!(
                "neither of {places:?}: build it first, with cargo build --workspace --examples --bins"
            )
        }))
    }

    /// Starts the command, its output captured and its input empty.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = Arc::default();
        let stdout = child.stdout.take().map(|out| capture(out, &lines));
        let stderr = child.stderr.take().map(|err| capture(err, &lines));
        Ok(Self {
            child,
            readers: stdout.into_iter().chain(stderr).collect(),
            lines,
        })
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines printed so far to standard output and standard error, as they came in.
    #[must_use]
    pub fn output(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until the address accepts a connection, which is closed again at once.
    ///
    /// # Panics
    ///
    /// If it does not within the deadline, or the process exits first; with its output.
    pub async fn wait_accepting(&mut self, addr: SocketAddr, deadline: Duration) {
        let until = Instant::now() + deadline;
        while TcpStream::connect(addr).await.is_err() {
            self.assert_running(&format!("accepts on {addr}"));
            self.pause(until, &format!("accepts on {addr}")).await;
        }
    }

    /// Waits until a printed line contains the text, and returns the first that does.
    ///
    /// # Panics
    ///
    /// If none does within the deadline, or the process exits first; with its output.
    pub async fn wait_output(&mut self, text: &str, deadline: Duration) -> String {
        let until = Instant::now() + deadline;
        loop {
            // Looked at first: of a process that has exited, all output is complete.
            let complete = self.readers.iter().all(JoinHandle::is_finished);
            let found = self.output().into_iter().find(|line| line.contains(text));
            if let Some(line) = found {
                return line;
            }
            if complete {
                self.assert_running(&format!("prints {text:?}"));
            }
            self.pause(until, &format!("prints {text:?}")).await;
        }
    }

    /// Sends SIGTERM; does nothing if the process has exited.
    ///
    /// # Errors
    ///
    /// If the signal cannot be sent.
    pub fn terminate(&mut self) -> io::Result<()> {
        self.signal("TERM")
    }

    /// Sends a signal by its name, such as `INT`; does nothing if the process has exited.
    ///
    /// # Errors
    ///
    /// If the signal cannot be sent.
    pub fn signal(&mut self, name: &str) -> io::Result<()> {
        // Not given to another process as long as the exit is not collected, which needs `&mut`.
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // Every shell has a `kill`; not every container has the program.
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", name])
            .arg(self.id().to_string())
            .status()?;
        if sent.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "kill -s {name} {}: {sent}",
                self.id()
            )))
        }
    }

    /// Waits for the process to exit and for the last of its output.
    ///
    /// # Panics
    ///
    /// If it does not exit within the deadline; with its output.
    pub async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let until = Instant::now() + deadline;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("ask for the exit status") {
                break status;
            }
            self.pause(until, "exits").await;
        };
        // A grandchild may hold the pipes open: then the output is what it is by the deadline.
        while !self.readers.iter().all(JoinHandle::is_finished) && Instant::now() < until {
            sleep(POLL_EVERY).await;
        }
        status
    }

    fn assert_running(&mut self, hoped: &str) {
        let exited = self.child.try_wait().expect("ask for the exit status");
        if let Some(status) = exited {
            panic!(
                "waited until process {} {hoped}, but it exited ({status}); its output:\n{}",
                self.id(),
                self.output().join("\n")
            );
        }
    }

    async fn pause(&self, until: Instant, hoped: &str) {
        assert!(
            Instant::now() < until,
            "waited in vain until process {} {hoped}; its output:\n{}",
            self.id(),
            self.output().join("\n")
        );
        sleep(POLL_EVERY).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the child is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn capture(pipe: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    })
}
