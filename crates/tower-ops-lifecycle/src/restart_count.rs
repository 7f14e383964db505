use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;

use tower_ops_core::file;

const HEAD: &str = "tower-ops restart_count ";
/// More than the longest content, so that longer content is known to be foreign.
const MOST_BYTES: u64 = 64;

/// How often the process was restarted, as its file has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Restarts {
    pub(crate) count: u64,
    pub(crate) problem: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    None,
    Count(u64),
    /// The beginning of what [`count_start`] writes.
    Torn,
    Foreign,
}

/// Counts this start in the file. The first one is not a restart.
pub(crate) fn count_start(path: &Path) -> Restarts {
    let with_problem = |count, problem: String| Restarts {
        count,
        problem: Some(format!("{}: {problem}", path.display())),
    };
    let (count, torn) = match read(path) {
        Ok(Content::None) => (0, false),
        Ok(Content::Count(count)) => (count.saturating_add(1), false),
        Ok(Content::Torn) => (0, true),
        // A wrong path must not destroy a file.
        Ok(Content::Foreign) => {
            return with_problem(
                0,
                "does not hold a restart count: left as it is, counted from 0".to_owned(),
            );
        }
        Err(error) => return with_problem(0, format!("cannot be read, counted from 0: {error}")),
    };
    let write = |file: &mut File| writeln!(file, "{HEAD}{count}");
    match file::replace(path, write) {
        Err(error) => with_problem(count, format!("cannot be written: {error}")),
        Ok(()) if torn => with_problem(0, "held half a restart count: counted from 0".to_owned()),
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
    // Reading from a FIFO or a device could block for ever.
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
    // Without the line's end, a 1 may be the beginning of a 12.
    if digits.len() == number.len() {
        return Content::Torn;
    }
    digits.parse().map_or(Content::Foreign, Content::Count)
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        let beside = format!(".restarts.next-{}", std::process::id());
        fs::write(folder.path().join(beside), "half").unwrap();
        assert_eq!(count_start(&path), counted(0));
        assert_eq!(count_start(&path), counted(1));
    }

    #[test]
    fn a_path_that_cannot_be_used_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let missing = count_start(&folder.path().join("no/such/folder"));
        assert!(missing.problem.unwrap().contains("cannot be written"));
        let directory = count_start(folder.path());
        assert_eq!(directory.count, 0);
        assert!(directory.problem.is_some());
    }
}
