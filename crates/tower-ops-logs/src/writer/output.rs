//! Where lines go.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Where lines go.
pub(crate) enum Output {
    Stdout,
    Stderr,
    Writer(Box<dyn Write + Send>),
}

impl Output {
    pub(crate) fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
            Self::Writer(_) => false,
        }
    }

    pub(crate) fn open(self) -> Box<dyn Write + Send> {
        match self {
            Self::Stdout => stdout(),
            Self::Stderr => Box::new(io::stderr()),
            Self::Writer(writer) => writer,
        }
    }
}

/// Returns standard output without its lock, which the thread would hold while a reader does not
/// read, and `println!` with it.
#[cfg(unix)]
fn stdout() -> Box<dyn Write + Send> {
    use std::fs::File;
    use std::os::fd::AsFd;

    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(stdout) => Box::new(File::from(stdout)),
        Err(_) => Box::new(io::stdout()),
    }
}

#[cfg(not(unix))]
fn stdout() -> Box<dyn Write + Send> {
    Box::new(io::stdout())
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "Stdout",
            Self::Stderr => "Stderr",
            Self::Writer(_) => "Writer",
        })
    }
}
