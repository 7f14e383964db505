//! The state in a file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::fs;
use std::path::{Path, PathBuf};

use tower_ops_state::{ErrorKind, Restore, State, StateBuilder};

use self::shelf::{Mode, Shelf};

#[path = "support/shelf.rs"]
mod shelf;

struct Directory {
    directory: tempfile::TempDir,
}

impl Directory {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("state.json")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn shop(shelf: &Shelf, file: &Path) -> StateBuilder {
    let builder = State::builder("shop", "1").participant(shelf.clone());
    builder.file(file)
}

#[tokio::test]
async fn the_next_process_finds_what_the_last_one_left() {
    let directory = Directory::new();
    let file = directory.file();
    let state = shop(&Shelf::new("shelf", &["kept"]), &file)
        .build()
        .unwrap();
    assert!(state.restore_file().await.unwrap().is_none());
    state.save_file().await.unwrap();
    state.save_file().await.unwrap();
    assert_eq!(directory.names(), ["state.json"]);
    #[cfg(unix)]
    {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let next = Shelf::new("shelf", &[]);
    let state = shop(&next, &file).build().unwrap();
    let restored = state.restore_file().await.unwrap().unwrap();
    assert_eq!(restored.participants[0].name, "shelf");
    assert_eq!(*next.items(), ["kept"]);
    assert_eq!(directory.names(), ["state.json"]);
}

#[tokio::test]
async fn what_is_torn_foreign_or_refused_is_kept_aside() {
    let good = {
        let directory = Directory::new();
        let shelf = Shelf::new("shelf", &["kept"]);
        let state = shop(&shelf, &directory.file()).build().unwrap();
        state.save_file().await.unwrap();
        fs::read(directory.file()).unwrap()
    };
    let foreign = String::from_utf8(good.clone()).unwrap();
    for (contents, mode, kind) in [
        (&b""[..], Mode::Good, ErrorKind::Broken),
        (b"# notes", Mode::Good, ErrorKind::Broken),
        (&good[..good.len() / 2], Mode::Good, ErrorKind::Broken),
        (
            foreign.replace("shop", "bank").as_bytes(),
            Mode::Good,
            ErrorKind::Broken,
        ),
        (&good, Mode::RefusePrepare, ErrorKind::Refused),
        (&vec![b' '; 4097], Mode::Good, ErrorKind::TooLarge),
    ] {
        let directory = Directory::new();
        fs::write(directory.file(), contents).unwrap();
        let shelf = Shelf::new("shelf", &["mine"]);
        shelf.next(mode);
        let state = shop(&shelf, &directory.file())
            .max_size(4096)
            .build()
            .unwrap();
        let error = state.restore_file().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(*shelf.items(), ["mine"]);
        let names = directory.names();
        assert!(names[0].starts_with("state.json.rejected-"), "{names:?}");
        assert_eq!(names.len(), 1);
        assert!(error.message().contains(&names[0]), "{error}");
        let aside = directory.file().with_file_name(&names[0]);
        assert_eq!(fs::read(aside).unwrap(), contents);
        // Out of the way.
        assert!(state.restore_file().await.unwrap().is_none());
        state.save_file().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_the_files_fault_leaves_it_where_it_is() {
    let directory = Directory::new();
    let shelf = Shelf::new("shelf", &["kept"]);
    let state = shop(&shelf, &directory.file())
        .restore_when(|| false)
        .build()
        .unwrap();
    state.save_file().await.unwrap();
    let error = state.restore_file().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotNow);
    shelf.next(Mode::RefuseCapture);
    state.save_file().await.unwrap_err();
    assert_eq!(directory.names(), ["state.json"]);
}

#[tokio::test]
async fn a_file_of_a_newer_generation_is_not_written_over() {
    let directory = Directory::new();
    let (first, second) = (Shelf::new("shelf", &["a"]), Shelf::new("shelf", &[]));
    let from = shop(&first, &directory.file())
        .token("0123456789abcdef")
        .build()
        .unwrap();
    let to = shop(&second, &directory.file()).build().unwrap();
    let taken = hand_over(&from).await;
    assert_eq!(
        from.save_file().await.unwrap_err().kind(),
        ErrorKind::HandedOver
    );
    to.restore(taken, Restore::new()).await.unwrap();
    to.save_file().await.unwrap();
    // As one that was started anew and does not know of it.
    let old = shop(&first, &directory.file()).build().unwrap();
    assert_eq!(
        old.save_file().await.unwrap_err().kind(),
        ErrorKind::Generation
    );
    old.restore_file().await.unwrap().unwrap();
    assert_eq!(old.generation(), 1);
    old.save_file().await.unwrap();
}

async fn hand_over(state: &State) -> bytes::Bytes {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    let request =
        http::Request::get("/?fence=1").header("authorization", "Bearer 0123456789abcdef");
    let request = request
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let Ok(response) = state.service().oneshot(request).await;
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn leftovers_are_removed_and_failures_reported() {
    let directory = Directory::new();
    let shelf = Shelf::new("shelf", &["kept"]);
    let state = shop(&shelf, &directory.file()).build().unwrap();
    state.save_file().await.unwrap();
    fs::write(
        directory.file().with_file_name(".state.json.next-12345"),
        "half",
    )
    .unwrap();
    fs::write(
        directory.file().with_file_name(".state.json.other"),
        "not ours",
    )
    .unwrap();
    state.restore_file().await.unwrap().unwrap();
    assert_eq!(directory.names(), [".state.json.other", "state.json"]);

    let nowhere = directory
        .file()
        .with_file_name("nowhere")
        .join("state.json");
    let state = shop(&shelf, &nowhere).build().unwrap();
    let error = state.save_file().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().contains("nowhere"), "{error}");
    assert!(state.restore_file().await.unwrap().is_none());
    let state = State::builder("shop", "1")
        .participant(shelf)
        .build()
        .unwrap();
    assert_eq!(
        state.save_file().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(
        state.restore_file().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}
