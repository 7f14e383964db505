use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::check::Check;
use crate::result::CheckResult;

/// What is read at most while the expected is looked for.
const MOST_READ: usize = 64 * 1_024;

/// Whether a TCP port takes connections, and says what it should.
///
/// A new connection each time. Names are resolved by the system.
///
/// # Examples
///
/// ```
/// use tower_ops_health::checks::Tcp;
///
/// let check = Tcp::new("mail.internal:25").expect("220 ").check("smtp");
/// # let _ = check;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Tcp {
    addr: String,
    send: Vec<u8>,
    expect: Vec<u8>,
}

impl Tcp {
    /// A host and a port: `db.internal:5432`, `10.0.0.7:25`, `[::1]:80`.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            send: Vec::new(),
            expect: Vec::new(),
        }
    }

    /// What to send first.
    pub fn send(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.send = bytes.into();
        self
    }

    /// What has to come, somewhere in the first 64 KiB.
    pub fn expect(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.expect = bytes.into();
        self
    }

    /// Makes the check.
    pub fn check(self, name: impl Into<Arc<str>>) -> Check {
        let mut problems = Vec::new();
        problems.extend(addr_problem(&self.addr));
        if self.expect.len() > MOST_READ {
            problems.push(format!("expect: is more than {MOST_READ} bytes"));
        }
        let this = Arc::new(self);
        let check = Check::new(name, move || {
            let this = Arc::clone(&this);
            async move { this.look().await }
        });
        check.with_problems(problems)
    }

    async fn look(&self) -> CheckResult {
        let exchange = async {
            let mut stream = TcpStream::connect(&self.addr).await?;
            stream.write_all(&self.send).await?;
            let mut seen = Vec::new();
            while !contains(&seen, &self.expect) {
                if seen.len() >= MOST_READ {
                    return Ok(Some("the first 64 KiB are not what was expected"));
                }
                let room = (MOST_READ - seen.len()) as u64;
                if (&mut stream).take(room).read_buf(&mut seen).await? == 0 {
                    return Ok(Some("the connection ended before what was expected came"));
                }
            }
            std::io::Result::Ok(None)
        };
        match exchange.await {
            Ok(None) => CheckResult::ok(),
            Ok(Some(wrong)) => CheckResult::down(wrong),
            Err(error) => Err::<(), _>(error).into(),
        }
    }
}

fn contains(seen: &[u8], expected: &[u8]) -> bool {
    expected.is_empty() || seen.windows(expected.len()).any(|part| part == expected)
}

/// What is wrong with a host and a port, if anything is.
pub(crate) fn addr_problem(addr: &str) -> Option<String> {
    let parts = addr.rsplit_once(':');
    let is_good = parts.is_some_and(|(host, port)| {
        let port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let bracketed = host.starts_with('[') && host.ends_with(']');
        port && !host.is_empty() && (bracketed || !host.contains(':'))
    });
    (!is_good).then(|| format!("address: {addr:?} is not a host, ':' and a port from 1 to 65535"))
}
