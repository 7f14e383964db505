//! What systemd does, done by hand: it hands over a socket, and gets notified of the start
//! and the stop.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tower_ops_testing::Process;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn receive(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn it_serves_on_the_socket_it_was_given_and_notifies_of_start_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let notify = UnixDatagram::bind(&path).unwrap();
    notify
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();

    let mut command: Command = Process::example("activated");
    command
        .env("NOTIFY_SOCKET", &path)
        .env("LISTEN_FDS", "1")
        // Standard input, so that no descriptor has to be moved to 3.
        .env("LISTEN_FDS_FIRST_FD", "0")
        .env_remove("LISTEN_PID")
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let mut child = Killed(command.spawn().unwrap());

    assert_eq!(receive(&notify), "READY=1\n");
    let mut text = String::new();
    let mut client = TcpStream::connect(addr).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");

    let sent = Command::new("sh")
        .args(["-c", r#"kill -s TERM "$1""#, "sh"])
        .arg(child.0.id().to_string())
        .status()
        .unwrap();
    assert!(sent.success());
    assert_eq!(receive(&notify), "STOPPING=1\n");
    assert!(child.0.wait().unwrap().success());
}
