//! A Unix socket by its path: what a dead server left is removed, and nothing else.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tower_ops_connections::{Connections, DrainReport, UnixSocket};

async fn ask(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn serve(listener: UnixSocket) -> DrainReport {
    let path = listener.path().to_owned();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = Router::new().route("/", get(async || "hello"));
    let server = Connections::new().server();
    let serving = tokio::spawn(async move {
        server
            .serve(listener, app, async { drop(stopped.await) })
            .await
    });
    assert!(ask(&path).await.ends_with("hello"));
    stop.send(()).unwrap();
    serving.await.unwrap()
}

#[tokio::test]
async fn a_server_starts_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    for _ in 0..3 {
        let report = serve(UnixSocket::bind(&path).unwrap()).await;
        assert_eq!(report.forced, 0, "{report}");
        assert!(!path.exists(), "it is removed after a stop");
    }
}

#[tokio::test]
async fn what_a_dead_server_left_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    // Dropped without its file being removed, as when the process is killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _ = serve(UnixSocket::bind(&path).unwrap()).await;
}

#[tokio::test]
async fn a_live_socket_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let live = UnixSocket::bind(&path).unwrap();
    let error = UnixSocket::bind(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
    // As main prints it.
    let boxed: Box<dyn std::error::Error> = error.into();
    let sentence = format!(
        "cannot listen on {}: another process listens on it",
        path.display()
    );
    assert_eq!(format!("{boxed:?}"), sentence);
    let _ = serve(live).await;

    // Whose queue is full, and nobody accepts.
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    socket.listen(0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    for _ in 0..3 {
        let error = UnixSocket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
    }

    // Of another type.
    let path = directory.path().join("datagrams.sock");
    let _datagrams = UnixDatagram::bind(&path).unwrap();
    let error = UnixSocket::bind(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
}

#[tokio::test]
async fn any_other_file_stays() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "precious").unwrap();
    fs::create_dir(at("folder")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("stale")).unwrap());
    symlink(at("stale"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    for name in ["file", "folder", "link", "dangling"] {
        let error = UnixSocket::bind(at(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(fs::symlink_metadata(at(name)).is_ok(), "{name}");
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"precious");
    let nowhere = UnixSocket::bind(at("missing/app.sock")).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_took_its_place_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let first = UnixSocket::bind(&path).unwrap();
    // Kept, so that the number of the file is not given again.
    fs::rename(&path, directory.path().join("old.sock")).unwrap();
    let second = UnixSocket::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_mode_says_who_may_connect() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let socket = UnixSocket::bind(&path).unwrap().mode(0o600).unwrap();
    let metadata = fs::metadata(socket.path()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(
        metadata.uid(),
        fs::metadata(directory.path()).unwrap().uid()
    );
}
