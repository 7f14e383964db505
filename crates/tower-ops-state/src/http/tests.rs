use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderValue};
use tower_ops_core::secret::{Secret, WatchedSecret};

use super::request::{accepts_gzip, shown};

fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
}

#[test]
fn lets_in_who_has_a_token_and_nobody_else() {
    let of = |token: &str| WatchedSecret::new(token.into()).unwrap();
    let tokens = vec![
        ("current", of("0123456789abcdef")),
        ("next", of("fedcba9876543210")),
    ];
    let shown = |header| shown(&tokens, &headers(AUTHORIZATION, header));
    assert_eq!(shown("Bearer 0123456789abcdef"), Some("current"));
    assert_eq!(shown("bearer  fedcba9876543210 "), Some("next"));
    for bad in [
        "Bearer 0123456789abcdeF",
        "Bearer 0123456789abcdef0",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
        "Bearer ",
    ] {
        assert_eq!(shown(bad), None, "{bad}");
    }
    assert_eq!(super::request::shown(&tokens, &HeaderMap::new()), None);
}

#[tokio::test(start_paused = true)]
async fn a_token_changes_with_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    let secret = WatchedSecret::new(Secret::from_file(&path)).unwrap();
    let tokens = vec![("current", secret)];
    let shown = |header| shown(&tokens, &headers(AUTHORIZATION, header));
    assert_eq!(shown("Bearer 0123456789abcdef"), Some("current"));
    std::fs::write(&path, "fedcba9876543210\n").unwrap();
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    // The file is read on a thread, which a busy machine may delay for longer than the wait.
    let mut tries = 0;
    while shown("Bearer fedcba9876543210").is_none() {
        tries += 1;
        assert!(tries < 20_000, "it is never taken up");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(shown("Bearer 0123456789abcdef"), None);
}

#[test]
fn gzip_is_sent_to_who_accepts_it() {
    for (header, accepts) in [
        ("gzip", true),
        ("deflate, x-gzip;q=0.5", true),
        ("*", true),
        ("gzip;q=0.5, identity", false),
        ("gzip;q=0, *", false),
        ("br", false),
        ("", false),
    ] {
        let accepts = accepts && cfg!(feature = "compression");
        let headers = headers(ACCEPT_ENCODING, header);
        assert_eq!(accepts_gzip(&headers), accepts, "{header}");
    }
    assert!(!accepts_gzip(&HeaderMap::new()));
}
