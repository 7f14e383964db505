//! How often the process was restarted, in a small file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

const HEAD: &str = "tower-ops restart_count ";
/// More than the longest content, so that anything longer is seen to be foreign.
const MOST_BYTES: u64 = 64;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Restarts {
    pub(crate) count: u64,
    pub(crate) problem: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    None,
    Count(u64),
    /// A beginning of what we write.
    Torn,
    Foreign,
}

/// Counts this start in the file. The first one is no restart.
pub(crate) fn count_start(path: &Path) -> Restarts {
    let said = |count, problem: String| Restarts {
        count,
        problem: Some(format!("{}: {problem}", path.display())),
    };
    let (count, torn) = match read(path) {
        Ok(Content::None) => (0, false),
        Ok(Content::Count(count)) => (count.saturating_add(1), false),
        Ok(Content::Torn) => (0, true),
        // Whoever gave a wrong path does not lose a file by it.
        Ok(Content::Foreign) => {
            return said(
                0,
                "is no restart count: left as it is, counted from 0".to_owned(),
            );
        }
        Err(error) => return said(0, format!("cannot be read, counted from 0: {error}")),
    };
    match write(path, count) {
        Err(error) => said(count, format!("cannot be written: {error}")),
        Ok(()) if torn => said(0, "held half a restart count: counted from 0".to_owned()),
        Ok(()) => Restarts {
            count,
            problem: None,
        },
    }
}

fn read(path: &Path) -> io::Result<Content> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::None),
        Err(error) => return Err(error),
    };
    // A FIFO or a device could make us wait for ever.
    if !file.metadata()?.is_file() {
        return Ok(Content::Foreign);
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Content {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Content::Foreign;
    };
    let Some(number) = text.strip_prefix(HEAD) else {
        return if HEAD.starts_with(text) {
            Content::Torn
        } else {
            Content::Foreign
        };
    };
    let digits = number.strip_suffix('\n').unwrap_or(number);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Content::Foreign;
    }
    // Without its end a 1 may have been a 12.
    if digits.len() == number.len() {
        return Content::Torn;
    }
    digits.parse().map_or(Content::Foreign, Content::Count)
}

/// All or nothing, whenever the power fails: a file beside it takes its place.
fn write(path: &Path, count: u64) -> io::Result<()> {
    let beside = beside(path)?;
    let written = write_new(&beside, count).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    // So that the new name survives as well. Not every file system can.
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or_else(|| Path::new("."))) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn write_new(path: &Path, count: u64) -> io::Result<()> {
    let open = || OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match open() {
        // Left by a process that was killed here. In a container ours is its id, too.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            open()?
        }
        opened => opened?,
    };
    file.write_all(format!("{HEAD}{count}\n").as_bytes())?;
    file.sync_all()
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "is no path of a file"))?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(beside))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(count: u64) -> Restarts {
        Restarts {
            count,
            problem: None,
        }
    }

    #[test]
    fn each_start_after_the_first_is_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("restarts");
        for count in 0..3 {
            assert_eq!(count_start(&path), counted(count));
        }
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn a_torn_file_counts_from_0_and_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("restarts");
        let whole = format!("{HEAD}12\n");
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let torn = count_start(&path);
            assert_eq!(torn.count, 0, "{end}");
            assert!(torn.problem.unwrap().contains("half a restart count"));
            assert_eq!(count_start(&path), counted(1), "{end}");
        }
    }

    #[test]
    fn a_foreign_file_counts_from_0_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        let long = format!("{HEAD}{}", "1".repeat(100));
        for content in [
            b"root:x:0:0" as &[u8],
            b"\xff\xfe",
            b"tower-ops restart_count -1\n",
            b"tower-ops restart_count 99999999999999999999999\n",
            b"tower-ops restart_count 1\n2\n",
        ] {
            fs::write(&path, content).unwrap();
            let foreign = count_start(&path);
            assert_eq!(foreign.count, 0);
            assert!(foreign.problem.unwrap().contains("left as it is"));
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        fs::write(&path, &long).unwrap();
        assert_eq!(count_start(&path).count, 0);
    }

    #[test]
    fn what_a_killed_process_left_beside_it_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("restarts");
        fs::write(beside(&path).unwrap(), "half").unwrap();
        assert_eq!(count_start(&path), counted(0));
        assert_eq!(count_start(&path), counted(1));
    }

    #[test]
    fn a_path_that_cannot_be_used_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let missing = count_start(&folder.path().join("no/such/folder"));
        assert!(missing.problem.unwrap().contains("cannot be written"));
        let directory = count_start(folder.path());
        assert_eq!(directory.count, 0);
        assert!(directory.problem.is_some());
    }
}
