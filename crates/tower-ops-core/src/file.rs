//! Files that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Replaces a file, or makes it: whenever the process ends or the power fails, its name stands for
/// what was there before or for all of what `write` wrote.
///
/// Writes beside it, to `.NAME.next-PID`, which only the owner may read; syncs; takes its place;
/// syncs the directory. Blocks the thread.
///
/// # Errors
///
/// Those of `write` and of the file system. The file is then what it was before.
///
/// # Examples
///
/// ```
/// use std::io::Write as _;
/// use tower_ops_core::file;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("tower-ops-core-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let path = directory.join("count");
/// file::replace(&path, |file| file.write_all(b"12\n"))?;
/// assert_eq!(std::fs::read(&path)?, b"12\n");
/// # std::fs::remove_dir_all(&directory)
/// # }
/// ```
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let beside = beside(path).ok_or(io::ErrorKind::InvalidFilename)?;
    let written = write_new(&beside, write).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    sync_directory(path)
}

/// Removes what [`replace`] was writing when a process was killed. It only takes up room, so that
/// what cannot be removed is left.
pub fn remove_leftovers(path: &Path) {
    let (Some(prefix), Ok(entries)) = (prefix(path), fs::read_dir(directory(path))) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(&prefix)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a new name in the directory of that file outlive a loss of power.
///
/// # Errors
///
/// If the directory cannot be opened or synced. Where directories cannot be opened at all, a rename
/// needs no sync, and this does nothing.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        match File::open(directory(path))?.sync_all() {
            // Not every file system can.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn write_new(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // Never through a link that somebody else has put there.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(path) {
        // Left by a process that was killed here. In a container ours has its id, too.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)?
        }
        opened => opened?,
    };
    write(&mut file)?;
    file.sync_all()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn prefix(path: &Path) -> Option<String> {
    Some(format!(".{}.next-", path.file_name()?.to_str()?))
}

fn beside(path: &Path) -> Option<PathBuf> {
    Some(path.with_file_name(format!("{}{}", prefix(path)?, std::process::id())))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("tower-ops-core-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap().flatten();
            let mut names: Vec<_> = entries
                .map(|it| it.file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_fails_half_way_leaves_the_file_as_it_was_and_nothing_beside_it() {
        let directory = Directory::new("half");
        let path = directory.0.join("file");
        replace(&path, |file| file.write_all(b"old")).unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"ne")?;
            Err(io::Error::other("no room"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no room");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(directory.names(), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_stands_beside_it_is_not_written_through() {
        let directory = Directory::new("link");
        let path = directory.0.join("file");
        let other = directory.0.join("other");
        fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, beside(&path).unwrap()).unwrap();
        replace(&path, |file| file.write_all(b"ours")).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"theirs");
        assert_eq!(fs::read(&path).unwrap(), b"ours");
    }

    #[test]
    fn leftovers_of_processes_that_were_killed_are_removed_and_nothing_else() {
        let directory = Directory::new("left");
        let path = directory.0.join("file");
        for name in ["file", ".file.next-1", ".file.next-22", ".other.next-1"] {
            fs::write(directory.0.join(name), "").unwrap();
        }
        remove_leftovers(&path);
        assert_eq!(directory.names(), [".other.next-1", "file"]);
    }
}
