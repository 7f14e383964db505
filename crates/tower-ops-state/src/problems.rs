//! What can be wrong with a configuration.

use std::collections::HashSet;
use std::env::{self, VarError};
use std::path::Path;
use std::time::Duration;

use tower_ops_core::secret::{Secret, WatchedSecret};

use crate::member::Member;
use crate::seal::{SHORTEST_KEY, SigningKey};
use crate::shared::Limits;

const MOST_MEMBERS: usize = 256;
const LONGEST_NAME: usize = 64;
const LONGEST_TEXT: usize = 128;
/// An empty envelope has to fit, with a head of the usual length.
const SMALLEST_LIMIT: usize = 4 * 1024;
/// Far beyond what is of use, and within what a clock can add.
const LONGEST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn variable(problems: &mut Vec<String>, name: &str) -> Option<String> {
    match env::var(name) {
        // Set to nothing is a usual way not to set it.
        Ok(value) if value.is_empty() => None,
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            problems.push(format!("{name}: is not valid Unicode"));
            None
        }
    }
}

pub(crate) fn token(
    problems: &mut Vec<String>,
    name: &str,
    given: Option<Secret>,
) -> Option<WatchedSecret> {
    match WatchedSecret::new(given?) {
        Ok(secret) => Some(secret),
        Err(problem) => {
            problems.push(format!("{name}: {problem}"));
            None
        }
    }
}

pub(crate) fn text(problems: &mut Vec<String>, name: &str, text: &str) {
    if text.is_empty() || text.len() > LONGEST_TEXT {
        problems.push(format!("{name}: is not 1 to {LONGEST_TEXT} bytes long"));
    }
}

pub(crate) fn members(problems: &mut Vec<String>, members: &[Box<dyn Member>]) {
    if members.len() > MOST_MEMBERS {
        problems.push(format!("participant: there are more than {MOST_MEMBERS}"));
    }
    let mut names = HashSet::new();
    for member in members {
        let name = member.name();
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_known) {
            problems.push(format!(
                "participant: {name:?} is not 1 to {LONGEST_NAME} of a-z A-Z 0-9 _ - ."
            ));
        }
        if !names.insert(name) {
            problems.push(format!("participant: there are two named {name:?}"));
        }
    }
}

pub(crate) fn limits(problems: &mut Vec<String>, limits: &Limits) {
    if limits.max_size < SMALLEST_LIMIT {
        problems.push(format!("max_size: is less than {SMALLEST_LIMIT} bytes"));
    }
    for (name, time) in [
        ("capture_timeout", limits.capture_timeout),
        ("restore_timeout", limits.restore_timeout),
        ("idle_body_timeout", limits.idle_body_timeout),
    ] {
        if time.is_zero() {
            problems.push(format!("{name}: is zero"));
        }
        if time > LONGEST_TIME {
            problems.push(format!("{name}: is more than a day"));
        }
    }
}

pub(crate) fn file(problems: &mut Vec<String>, path: Option<&Path>) {
    let name = path.map(|path| path.file_name().and_then(|name| name.to_str()));
    if name == Some(None) {
        problems.push("file: has no name at its end that is valid Unicode".to_owned());
    }
}

pub(crate) fn key(problems: &mut Vec<String>, key: Option<&[u8]>) -> Option<SigningKey> {
    let key = key?;
    if key.len() < SHORTEST_KEY {
        problems.push(format!("hmac_key: is shorter than {SHORTEST_KEY} bytes"));
        return None;
    }
    SigningKey::new(key)
}
