//! What is wrong with a configuration, all at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::process::Command;
use std::time::Duration;

use tower_ops_state::State;

use self::shelf::Shelf;

#[path = "support/shelf.rs"]
mod shelf;

#[test]
fn every_problem_is_named() {
    let error = State::builder("", "1")
        .participant(Shelf::new("a", &[]))
        .participant(Shelf::new("a", &[]))
        .participant(Shelf::new("not a name", &[]))
        .token("short")
        .next_token("with a space in it")
        .hmac_key("short")
        .instance("x".repeat(129))
        .max_size(1)
        .capture_timeout(Duration::ZERO)
        .restore_timeout(Duration::MAX)
        .file("..")
        .build()
        .unwrap_err();
    assert_eq!(
        error.problems(),
        [
            "token: is shorter than 16 characters, and can be tried out",
            "next_token: has characters that are not visible ASCII, which no bearer token may have",
            "application: is not 1 to 128 bytes long",
            "instance: is not 1 to 128 bytes long",
            "participant: there are two named \"a\"",
            "participant: \"not a name\" is not 1 to 64 of a-z A-Z 0-9 _ - .",
            "max_size: is less than 4096 bytes",
            "capture_timeout: is zero",
            "restore_timeout: is more than a day",
            "file: has no name at its end that is valid Unicode",
            "hmac_key: is shorter than 16 bytes",
        ]
    );
    assert!(
        error
            .to_string()
            .starts_with("the configuration of the state is invalid:\n  - token")
    );
}

#[test]
fn a_time_that_means_for_ever_is_an_error_and_no_panic() {
    for time in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_millis(u64::MAX),
        Duration::from_secs(24 * 60 * 60 + 1),
    ] {
        let error = State::builder("shop", "1")
            .participant(Shelf::new("a", &[]))
            .capture_timeout(time)
            .restore_timeout(time)
            .idle_body_timeout(time)
            .build()
            .unwrap_err();
        assert_eq!(
            error.problems(),
            [
                "capture_timeout: is more than a day",
                "restore_timeout: is more than a day",
                "idle_body_timeout: is more than a day",
            ]
        );
    }
}

/// Runs the test below in a process with these variables.
fn with_variables(variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_token_of_the_environment",
            "--ignored",
            "--nocapture",
        ])
        .env_remove("TOWER_OPS_STATE_TOKEN")
        .env_remove("TOWER_OPS_STATE_TOKEN_NEXT")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_token_comes_from_the_environment() {
    let (token, next) = ("TOWER_OPS_STATE_TOKEN", "TOWER_OPS_STATE_TOKEN_NEXT");
    assert!(with_variables(&[]).contains("status 404"));
    assert!(with_variables(&[(token, "")]).contains("status 404"));
    assert!(with_variables(&[(token, "0123456789abcdef")]).contains("status 200"));
    assert!(with_variables(&[(next, "0123456789abcdef")]).contains("status 200"));
    assert!(with_variables(&[(token, "fedcba9876543210")]).contains("status 401"));
    let short = with_variables(&[(token, "short")]);
    assert!(
        short.contains("token: the environment variable TOWER_OPS_STATE_TOKEN is shorter"),
        "{short}"
    );
}

#[tokio::test]
#[ignore = "run by the test above, with variables"]
async fn the_token_of_the_environment() {
    use std::io::Write as _;

    use tower::ServiceExt as _;

    let answer = match State::builder("a", "1")
        .participant(Shelf::new("a", &[]))
        .build()
    {
        Ok(state) => {
            let request =
                http::Request::get("/").header("authorization", "Bearer 0123456789abcdef");
            let request = request
                .body(http_body_util::Empty::<bytes::Bytes>::new())
                .unwrap();
            let Ok(response) = state.service().oneshot(request).await;
            format!("status {}", response.status())
        }
        Err(error) => error.to_string(),
    };
    writeln!(std::io::stdout(), "{answer}").unwrap();
}
