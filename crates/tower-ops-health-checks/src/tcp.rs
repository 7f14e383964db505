use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_ops_health::{Check, CheckResult};

use crate::addr;

/// How many bytes are read at most while the expected ones are looked for.
const MOST_READ: usize = 64 * 1_024;

/// Checks that a TCP port accepts connections, and sends what it should.
///
/// Makes a new connection each time. Names are resolved by the system.
///
/// # Examples
///
/// ```
/// use tower_ops_health_checks::Tcp;
///
/// let check = Tcp::new("mail.internal:25").expect("220 ").into_check("smtp");
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
    /// Checks a host and a port: `db.internal:5432`, `10.0.0.7:25`, `[::1]:80`.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            send: Vec::new(),
            expect: Vec::new(),
        }
    }

    /// Sets what is sent first. Default: nothing.
    pub fn send(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.send = bytes.into();
        self
    }

    /// Sets what has to come, somewhere in the first 64 KiB. Default: nothing.
    pub fn expect(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.expect = bytes.into();
        self
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let mut problems: Vec<_> = addr::problem(&self.addr).into_iter().collect();
        if self.expect.len() > MOST_READ {
            problems.push(format!("expect: is more than {MOST_READ} bytes"));
        }
        let this = Arc::new(self);
        let check = Check::new(name, move || {
            let this = Arc::clone(&this);
            async move { this.look().await }
        });
        check.problems(problems)
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
