//! Detects peers that have vanished: no FIN, no RST, and no answer ever.

use std::any::Any;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How the kernel and HTTP/2 probe a connection that is silent.
#[derive(Clone, Debug)]
pub(crate) struct KeepAlive {
    pub(crate) tcp_after: Option<Duration>,
    pub(crate) tcp_interval: Duration,
    pub(crate) tcp_retries: u32,
    pub(crate) tcp_user_timeout: Option<Duration>,
    pub(crate) ping_after: Option<Duration>,
    pub(crate) ping_timeout: Duration,
}

/// The maxima of Linux.
const TCP_LONGEST: Duration = Duration::from_secs(32_767);
pub(crate) const TCP_MOST_RETRIES: u32 = 127;

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            tcp_after: Some(Duration::from_secs(60)),
            tcp_interval: Duration::from_secs(10),
            tcp_retries: 3,
            tcp_user_timeout: None,
            ping_after: Some(Duration::from_secs(60)),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

impl KeepAlive {
    /// Sets the options of `io` if that is a TCP stream. Takes any type, since frameworks have
    /// listeners of their own.
    pub(crate) fn set<I: 'static>(&self, io: &I) {
        let Some(stream) = (io as &dyn Any).downcast_ref::<TcpStream>() else {
            return;
        };
        let socket = SockRef::from(stream);
        // Fails on a dead connection, or where the system has no such option. Neither matters here.
        if let Some(after) = self.tcp_after {
            let _ = socket.set_tcp_keepalive(&self.tcp(after));
        }
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Some(limit) = self.tcp_user_timeout {
            let _ = socket.set_tcp_user_timeout(Some(limit.min(TCP_LONGEST)));
        }
    }

    fn tcp(&self, after: Duration) -> TcpKeepalive {
        let options = TcpKeepalive::new().with_time(after.min(TCP_LONGEST));
        #[cfg(any(
            target_os = "android",
            target_os = "freebsd",
            target_os = "linux",
            target_os = "macos",
            target_os = "netbsd",
            target_os = "windows"
        ))]
        let options = options
            .with_interval(self.tcp_interval.min(TCP_LONGEST))
            .with_retries(self.tcp_retries);
        options
    }
}
