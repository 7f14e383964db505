use std::fs::File;

/// How many descriptors are kept back: as many probes are answered at once when the process has
/// no others left.
const KEPT: usize = 16;

/// Descriptors that are held open for nothing, so that there are some for probes when the process
/// has used up all others.
///
/// Between giving one back and accepting on it, another thread can take it: there are several,
/// and each is tried.
#[derive(Debug)]
pub(super) struct Reserve {
    held: Vec<File>,
}

impl Reserve {
    pub(super) fn new() -> Self {
        let mut reserve = Self {
            held: Vec::with_capacity(KEPT),
        };
        reserve.refill();
        reserve
    }

    /// Gives one back to the process; `false` if none is left.
    pub(super) fn release(&mut self) -> bool {
        self.held.pop().is_some()
    }

    pub(super) fn is_full(&self) -> bool {
        self.held.len() == KEPT
    }

    /// Takes as many again as there should be, as far as there are any.
    pub(super) fn refill(&mut self) {
        while !self.is_full() {
            let Ok(file) = File::open(NOTHING) else {
                return;
            };
            self.held.push(file);
        }
    }
}

#[cfg(windows)]
const NOTHING: &str = "NUL";
#[cfg(not(windows))]
const NOTHING: &str = "/dev/null";
