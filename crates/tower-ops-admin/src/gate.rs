//! Why a request is refused for any caller, before tokens are checked.

use http::header::{HeaderName, ORIGIN, USER_AGENT};
use http::uri::Uri;
use http::{HeaderMap, StatusCode, Version};
use tower_ops_core::http::Host;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Set by a browser that fetches a page before anybody has clicked. The last two are older names.
const PREFETCH: [HeaderName; 3] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-moz"),
];

/// All that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) version: Version,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// Whether the request changes something.
    pub(crate) changes: bool,
    /// Whether the client is on this machine, where a browser can be.
    pub(crate) is_local: bool,
    /// Whether the request came over the endpoint's own port, and not over the application's.
    pub(crate) is_own_port: bool,
    /// The names that were configured.
    pub(crate) names: &'a [String],
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// HTTP/1.1 requires exactly one `Host`.
    Host,
    /// The name may belong to another site.
    ForeignHost,
    /// A browser sent it for a page of another site, or ahead of time.
    CrossSite,
}

impl Objection {
    pub(crate) const fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Host => (
                StatusCode::BAD_REQUEST,
                "a request must have one host header, with a name and perhaps a port",
            ),
            Self::ForeignHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not trusted: use an IP address, localhost or a name inside of the \
                 cluster, or add the name to the service's configuration",
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "a browser may not do this for a page of another site, or ahead of time",
            ),
        }
    }
}

/// Returns the first objection to a request.
pub(crate) fn objection(question: &Question<'_>) -> Option<Objection> {
    let Ok(host) = Host::from_headers(question.headers) else {
        return Some(Objection::Host);
    };
    // On the application's port its server decides.
    if host.is_none() && question.is_own_port && question.version == Version::HTTP_11 {
        return Some(Objection::Host);
    }
    if question.changes || question.is_local {
        // The absolute form has a host as well, and so has HTTP/2.
        let named = question
            .uri
            .authority()
            .map(|named| Host::parse(named.as_str()));
        let Ok(named) = named.transpose() else {
            return Some(Objection::Host);
        };
        let mut hosts = host.iter().chain(&named);
        if !hosts.all(|host| host.is_trusted(question.names)) {
            return Some(Objection::ForeignHost);
        }
    }
    (question.changes && is_cross_site(question.headers)).then_some(Objection::CrossSite)
}

/// Whether a browser sent it, and not for its user on a page of this very origin.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let is_own = |origin: &str| {
        let named = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        let host = headers.get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        matches!((named, host), (Some(named), Some(host)) if named.eq_ignore_ascii_case(host))
    };
    // Over plain HTTP to another host a browser sends neither header. Tools and probes are no
    // browsers.
    let is_browser = headers
        .get(USER_AGENT)
        .is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    let is_silent = !headers.contains_key(ORIGIN) && !headers.contains_key(SEC_FETCH_SITE);
    if is_browser && is_silent {
        return true;
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    origins.any(|origin| !origin.to_str().is_ok_and(is_own))
        || sites.any(|site| site != "same-origin" && site != "none")
        || PREFETCH.iter().any(|name| headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Option<Objection> = Some(Objection::Host);
    const FOREIGN: Option<Objection> = Some(Objection::ForeignHost);
    const CROSS: Option<Objection> = Some(Objection::CrossSite);

    struct Case {
        question: (bool, bool),
        headers: &'static [(&'static str, &'static str)],
    }

    fn decide(case: &Case, version: Version, uri: &str, is_own_port: bool) -> Option<Objection> {
        let mut headers = HeaderMap::new();
        for (name, value) in case.headers {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        objection(&Question {
            version,
            uri: &uri.parse().unwrap(),
            headers: &headers,
            changes: case.question.0,
            is_local: case.question.1,
            is_own_port,
            names: &["orders.example.com".to_owned()],
        })
    }

    #[test]
    fn the_table_of_who_may_ask_what() {
        // Reads from elsewhere, reads on this machine, changes from elsewhere, changes here.
        const CALLERS: [(bool, bool); 4] =
            [(false, false), (false, true), (true, false), (true, true)];
        let rows: &[(&'static [(&str, &str)], [Option<Objection>; 4])] = &[
            (&[("host", "localhost:8080")], [None; 4]),
            (&[("host", "10.0.0.7:8080")], [None; 4]),
            (&[("host", "orders")], [None; 4]),
            (&[("host", "orders.default.svc.cluster.local")], [None; 4]),
            (&[("host", "orders.example.com")], [None; 4]),
            (
                &[("host", "evil.example:8080")],
                [None, FOREIGN, FOREIGN, FOREIGN],
            ),
            (&[("host", "")], [None, FOREIGN, FOREIGN, FOREIGN]),
            (&[], [BAD; 4]),
            (&[("host", "localhost"), ("host", "localhost")], [BAD; 4]),
            (&[("host", "localhost@evil.example")], [BAD; 4]),
            (
                &[("host", "localhost"), ("origin", "http://evil.example")],
                [None, None, CROSS, CROSS],
            ),
            (
                &[("host", "localhost"), ("origin", "null")],
                [None, None, CROSS, CROSS],
            ),
            (
                &[("host", "localhost:80"), ("origin", "http://LOCALHOST:80")],
                [None; 4],
            ),
            (
                &[("host", "localhost:80"), ("origin", "http://localhost:81")],
                [None, None, CROSS, CROSS],
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
                [None, None, CROSS, CROSS],
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "same-site")],
                [None, None, CROSS, CROSS],
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "something-new")],
                [None, None, CROSS, CROSS],
            ),
            (
                &[
                    ("host", "localhost"),
                    ("sec-fetch-site", "none"),
                    ("sec-fetch-site", "cross-site"),
                ],
                [None, None, CROSS, CROSS],
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "none")],
                [None; 4],
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "same-origin")],
                [None; 4],
            ),
            (
                &[
                    ("host", "localhost"),
                    ("sec-fetch-site", "none"),
                    ("sec-purpose", "prefetch;prerender"),
                ],
                [None, None, CROSS, CROSS],
            ),
            (
                &[("host", "localhost"), ("purpose", "prefetch")],
                [None, None, CROSS, CROSS],
            ),
        ];
        for (headers, expected) in rows {
            for (question, expected) in CALLERS.into_iter().zip(expected) {
                let case = Case { question, headers };
                let decided = decide(&case, Version::HTTP_11, "/", true);
                assert_eq!(decided, *expected, "{headers:?} {question:?}");
            }
        }
    }

    #[test]
    fn http_1_0_needs_no_host_and_other_forms_name_one() {
        let none = |question| Case {
            question,
            headers: &[],
        };
        let local = |question| Case {
            question,
            headers: &[("host", "localhost")],
        };
        for question in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(decide(&none(question), Version::HTTP_10, "/", true), None);
            assert_eq!(decide(&none(question), Version::HTTP_11, "/", false), None);
            assert_eq!(
                decide(&none(question), Version::HTTP_2, "http://localhost/", false),
                None
            );
            let foreign = (question != (false, false)).then_some(Objection::ForeignHost);
            for (case, version) in [
                (none(question), Version::HTTP_2),
                (local(question), Version::HTTP_11),
            ] {
                let decided = decide(&case, version, "http://evil.example/", false);
                assert_eq!(decided, foreign);
            }
        }
    }
}
