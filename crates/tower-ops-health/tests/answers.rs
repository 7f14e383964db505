//! What is answered, in which form, to whom.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

#[path = "support/ask.rs"]
mod ask;

use std::time::Duration;

use ask::{Answer, code, get, get_with, send};
use http::{Method, Request};
use serde_json::json;
use tokio::time::sleep;
use tower_ops_health::{
    Check, CheckKind, CheckResult, Details, Group, Health, HealthBuilder, Probes, Status,
};

const TOKEN: &str = "correct-horse-battery";

fn queue() -> Check {
    Check::new("queue", || async {
        CheckResult::degraded("long").value(120.0, "jobs")
    })
}

fn failing() -> Check {
    Check::new("db", || async {
        Err::<(), _>(std::io::Error::other("refused\nby 10.0.0.1"))
    })
}

async fn start(builder: HealthBuilder) -> Health {
    let health = builder.build().unwrap();
    tokio::spawn(health.run());
    health.mark_ready();
    sleep(Duration::from_secs(1)).await;
    health
}

fn three() -> HealthBuilder {
    Health::builder()
        .check(failing().critical().affects("/orders"))
        .check(queue())
        .check(Check::always_ok("disk").informational().group("disks"))
        .group(Group::new("disks"))
}

fn keys(answer: &Answer) -> Vec<String> {
    let checks = answer.json()["checks"].as_object().unwrap().clone();
    checks.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test(start_paused = true)]
async fn the_public_sees_a_status_and_nothing_else() {
    let health = start(three()).await;
    for (path, expected, word) in [
        ("/health", 200, "ok"),
        ("/ready", 503, "down"),
        ("/startup", 200, "ok"),
        ("/health/ping", 200, "ok"),
        ("/health/db", 503, "down"),
        ("/health/queue", 200, "degraded"),
        ("/health/disk", 200, "ok"),
        ("/health/disks", 200, "ok"),
        ("/health/readiness", 503, "down"),
        ("/health/liveness", 200, "ok"),
        ("/checks", 503, "down"),
        ("/checks?verbose", 503, "down"),
        ("/checks?checks=queue", 200, "degraded"),
        ("/checks?exclude=db", 200, "degraded"),
        ("/checks?exclude=db,queue", 200, "ok"),
        ("/checks?checks=_defaults", 503, "down"),
        ("/checks?checks=_defaults,disk&exclude=db", 200, "degraded"),
        ("/checks?checks=disk&auth=wrong", 200, "ok"),
        ("/ready?exclude=db", 200, "degraded"),
        ("/ready?utm=1", 503, "down"),
    ] {
        let answer = get(&health, path).await;
        let body = format!("{{\"status\":\"{word}\"}}\n");
        assert_eq!((answer.code, answer.body), (expected, body), "{path}");
        assert_eq!(
            answer.headers["cache-control"],
            "no-cache, no-store, must-revalidate"
        );
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    for (path, expected) in [("/checks?exclude=no", 503), ("/ready?exclude=disk,no", 503)] {
        let answer = get(&health, path).await;
        assert_eq!(answer.code, expected, "{path}");
        let warnings = answer.json()["warnings"].clone();
        let last = warnings.as_array().unwrap().last().unwrap().to_string();
        assert!(last.contains("no check \\\"no\\\" here"), "{last}");
    }
    // A client chooses the name, and does not choose how long the answer is.
    let long = format!("/checks?exclude={}", "n".repeat(4_000));
    let warnings = get(&health, &long).await.json()["warnings"].to_string();
    assert!(warnings.contains(&"n".repeat(64)), "{warnings}");
    assert!(!warnings.contains(&"n".repeat(65)), "{warnings}");
    for path in ["/checks?checks=", "/ready?checks=,"] {
        assert_eq!(code(&health, path).await, 503, "the defaults: {path}");
    }
    for path in ["/health/no", "/checks?checks=no"] {
        let answer = get(&health, path).await;
        assert_eq!(answer.code, 404, "{path}");
        assert_eq!(answer.body, "{\"error\":\"unknown check\"}\n");
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_sees_checks() {
    let health = start(three().details(Details::always())).await;
    let answer = get(&health, "/checks").await;
    assert_eq!(answer.code, 503);
    let mut seen = answer.json();
    for name in ["db", "queue", "disk"] {
        let latency = seen["checks"][name]["latency_ms"].take();
        assert!(latency.is_f64(), "{name}");
    }
    assert_eq!(
        seen,
        json!({
            "status": "down",
            "available_checks": ["db", "disk", "queue"],
            "checks": {
                "db": {"status": "down", "latency_ms": null, "error": "refused\nby 10.0.0.1"},
                "disk": {"status": "ok", "latency_ms": null},
                "queue": {"status": "degraded", "latency_ms": null, "detail": "long",
                          "value": 120.0, "unit": "jobs"},
            },
        })
    );
    let verbose = get(&health, "/health/db?verbose").await.json();
    let db = &verbose["checks"]["db"];
    assert_eq!(db["kind"], "critical");
    assert_eq!(db["groups"], json!(["readiness"]));
    assert_eq!(db["affects"], json!(["/orders"]));
    assert_eq!(db["reason"], "down");
    assert_eq!(
        (&db["streak"], &db["runs"], &db["failures"]),
        (&json!(1), &json!(1), &json!(1))
    );
    for time in ["checked_at", "first_failure"] {
        let time = db[time].as_str().unwrap();
        humantime::parse_rfc3339(time).unwrap();
    }
    assert!(db["age_ms"].as_f64().unwrap() >= 900.0);

    // A path's own checks are those that can be asked for.
    let ready = get(&health, "/ready").await;
    assert_eq!(keys(&ready), ["db", "queue"]);
    assert_eq!(keys(&get(&health, "/ready?checks=queue").await), ["queue"]);
    assert_eq!(keys(&get(&health, "/health").await), [""; 0]);
    assert_eq!(keys(&get(&health, "/health/disks").await), ["disk"]);
    assert_eq!(
        get(&health, "/checks?checks=no,db").await.json(),
        json!({"error": "unknown check", "available_checks": ["db", "disk", "queue"]})
    );
    health.mark_not_ready();
    let ready = get(&health, "/ready").await.json();
    assert_eq!(ready["detail"], "the process is not marked as ready");
    health.mark_draining();
    let ready = get(&health, "/ready").await.json();
    assert_eq!(ready["detail"], "the process is stopping");
}

#[tokio::test(start_paused = true)]
async fn a_probe_lists_what_is_wrong_first_and_has_no_more_than_64_kib() {
    let down = Check::new("zz", || async {
        Err::<(), _>(std::io::Error::other("refused \"by\" 10.0.0.1"))
    });
    let builder = (0..900).fold(Health::builder(), |builder, nth| {
        let name = format!("a-check-with-a-name-that-is-rather-long-{nth}");
        builder.check(Check::new(name, async || {
            CheckResult::ok().detail("\"x\"".repeat(100))
        }))
    });
    let health = start(builder.check(down.critical()).details(Details::always())).await;
    sleep(Duration::from_secs(60)).await;
    for path in ["/ready", "/ready?verbose", "/health", "/startup"] {
        for accept in ["application/json", "application/health+json", "text/plain"] {
            let answer = get_with(&health, path, &[("accept", accept)]).await;
            let size = answer.body.len();
            assert!(size <= 64 * 1024, "{path} {accept}: {size}");
            if path.starts_with("/ready") {
                assert_eq!(answer.code, 503);
                assert!(answer.body.contains("refused"), "{path} {accept}");
                assert!(answer.body.contains("left out; /checks has all"));
            }
        }
    }
    assert_eq!(keys(&get(&health, "/checks").await).len(), 901);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_by_name_and_names_that_nobody_has_are_answered_in_64_kib() {
    // Each character is six in JSON.
    let huge = async || CheckResult::down("\u{1}".repeat(2_000));
    let names: Vec<String> = { 0..1_000 }.map(|nth| format!("{nth:0>64}")).collect();
    let checks = names
        .iter()
        .cloned()
        .map(|name| Check::new(name, huge).critical());
    let builder = checks.fold(Health::builder(), HealthBuilder::check);
    let health = start(builder.details(Details::always())).await;
    sleep(Duration::from_secs(60)).await;
    let one = &names[999];
    let many = names[..100].join(",");
    for (path, code, expected) in [
        (format!("/health/{one}"), 503, &**one),
        (format!("/health/{one}?verbose"), 503, &**one),
        (format!("/checks?checks={one}"), 503, one),
        (format!("/checks?checks={one}&verbose"), 503, one),
        (
            format!("/checks?checks={many}"),
            503,
            "left out; /checks has all",
        ),
        (
            "/checks?checks=_defaults".into(),
            503,
            "left out; /checks has all",
        ),
        ("/ready".into(), 503, "left out; /checks has all"),
        ("/health/nobody".into(), 404, "left out; /checks has all"),
        (
            "/checks?checks=nobody".into(),
            404,
            "left out; /checks has all",
        ),
    ] {
        for accept in ["application/json", "application/health+json", "text/plain"] {
            let answer = get_with(&health, &path, &[("accept", accept)]).await;
            let size = answer.body.len();
            assert_eq!(answer.code, code, "{path} {accept}");
            assert!(size <= 64 * 1024, "{path} {accept}: {size}");
            assert!(answer.body.contains(expected), "{path} {accept}");
        }
    }
    assert_eq!(keys(&get(&health, "/checks").await).len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn details_are_for_holders_of_the_token() {
    let health = start(three().details(Details::token(TOKEN))).await;
    let bearer = format!("Bearer {TOKEN}");
    let public = "{\"status\":\"down\"}\n";
    for (path, headers, allowed) in [
        ("/checks", vec![], false),
        ("/checks", vec![("authorization", &*bearer)], true),
        ("/checks", vec![("authorization", "Bearer wrong")], false),
        (
            "/checks",
            vec![("authorization", "Basic Y29ycmVjdA==")],
            false,
        ),
        ("/checks?auth=correct-horse%2Dbattery", vec![], true),
        ("/checks?auth=correct", vec![], false),
        (
            "/checks?auth=wrong&auth=correct-horse-battery",
            vec![],
            false,
        ),
        (
            "/checks?auth=correct-horse-battery&auth=wrong",
            vec![],
            false,
        ),
        ("/checks?auth=", vec![], false),
        ("/ready", vec![("authorization", &*bearer)], true),
        ("/ready", vec![], false),
    ] {
        let answer = get_with(&health, path, &headers).await;
        // Whatever was presented: a probe is never turned away.
        assert_eq!(answer.code, 503);
        assert_eq!(answer.body != public, allowed, "{path} {headers:?}");
        assert_eq!(answer.headers.contains_key("www-authenticate"), !allowed);
    }
    // Which checks there are, and how each is, are details as well.
    let known = get(&health, "/health/db").await;
    let unknown = get(&health, "/health/no").await;
    assert_eq!((known.code, &known.body), (unknown.code, &unknown.body));
    assert_eq!(known.code, 401);
    let all = get(&health, "/checks").await;
    for selection in ["checks=disk", "checks=no", "exclude=db", "exclude=no"] {
        for path in ["/checks", "/ready"] {
            let answer = get(&health, &format!("{path}?{selection}")).await;
            assert_eq!((answer.code, &answer.body), (all.code, &all.body));
        }
    }
    let disk = get_with(&health, "/health/disk", &[("authorization", &bearer)]).await;
    assert_eq!(disk.code, 200);
    assert_eq!(get(&health, "/health/readiness").await.code, 503);
}

#[tokio::test(start_paused = true)]
async fn text_has_a_line_for_each_check() {
    let health = start(
        three()
            .check(Check::always_ok("late").initial_delay(Duration::from_secs(60)))
            .details(Details::always()),
    )
    .await;
    let text = [("accept", "text/plain")];
    let answer = get_with(&health, "/checks", &text).await;
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(
        answer.body,
        "[-]db down: refused\\nby 10.0.0.1\n[+]disk ok\n[?]late unknown\n\
         [!]queue degraded: long\ndown\n"
    );
    let verbose = get_with(&health, "/checks?verbose&checks=disk", &text).await;
    assert!(
        verbose.body.starts_with("[+]disk ok (0 ms, "),
        "{}",
        verbose.body
    );
    let unknown = get_with(&health, "/health/no", &text).await;
    assert_eq!(
        unknown.body,
        "unknown check: there are db, disk, late, queue\n"
    );
}

#[tokio::test(start_paused = true)]
async fn the_draft_of_the_ietf() {
    let accept = [("accept", "application/health+json")];
    let health = start(three()).await;
    let answer = get_with(&health, "/checks?exclude=db", &accept).await;
    assert_eq!(answer.headers["content-type"], "application/health+json");
    assert_eq!(
        (answer.code, &*answer.body),
        (200, "{\"status\":\"warn\"}\n")
    );

    let health = start(three().details(Details::always())).await;
    let answer = get_with(&health, "/checks", &accept).await;
    assert_eq!(answer.code, 503);
    let seen = answer.json();
    assert_eq!(seen["status"], "fail");
    let db = &seen["checks"]["db:responseTime"][0];
    assert_eq!(
        (&db["status"], &db["observedUnit"]),
        (&json!("fail"), &json!("ms"))
    );
    assert_eq!(db["affectedEndpoints"], json!(["/orders"]));
    assert_eq!(db["output"], "refused\nby 10.0.0.1");
    let queue = &seen["checks"]["queue:value"][0];
    assert_eq!(
        (&queue["observedValue"], &queue["observedUnit"]),
        (&json!(120.0), &json!("jobs"))
    );
    let disk = &seen["checks"]["disk:responseTime"][0];
    assert!(disk.get("output").is_none() && disk["time"].is_string());
    // A problem is none of the draft's documents.
    let problem = get_with(&health, "/health/no", &accept).await;
    assert_eq!(problem.headers["content-type"], "application/json");
}

#[tokio::test(start_paused = true)]
async fn the_draft_is_for_those_who_name_it() {
    let health = Health::new();
    for (accept, expected) in [
        (
            "application/health+json, application/json",
            "application/health+json",
        ),
        (
            "application/health+json;q=0.5, application/json",
            "application/json",
        ),
        ("application/health+json;q=0", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        (
            "text/plain, application/health+json;q=0.9",
            "text/plain; charset=utf-8",
        ),
        (
            "application/health+json, */*;q=0.1",
            "application/health+json",
        ),
    ] {
        let answer = get_with(&health, "/health", &[("accept", accept)]).await;
        assert_eq!(answer.headers["content-type"], expected, "{accept}");
    }
}

#[tokio::test(start_paused = true)]
async fn degraded_is_207_by_choice() {
    let degraded = || Health::builder().check(queue());
    assert_eq!(code(&start(degraded()).await, "/ready").await, 200);
    let health = start(degraded().degraded_code(207)).await;
    for path in ["/ready", "/checks", "/health/queue"] {
        assert_eq!(code(&health, path).await, 207);
    }
    assert_eq!(code(&health, "/health").await, 200);
}

#[tokio::test(start_paused = true)]
async fn head_has_the_headers_of_get() {
    let health = start(three().details(Details::always())).await;
    for path in [
        "/checks?exclude=db",
        "/health/ping",
        "/health/queue",
        "/health/no",
    ] {
        let get = get(&health, path).await;
        let head = Request::builder().method(Method::HEAD).uri(path);
        let head = send(health.probes(), head.body(()).unwrap()).await;
        assert_eq!((head.code, head.body.as_str()), (get.code, ""));
        assert_eq!(head.headers["content-length"], get.body.len().to_string());
        assert_eq!(head.headers["content-type"], get.headers["content-type"]);
        let post = Request::builder().method(Method::POST).uri(path);
        let post = send(health.probes(), post.body(()).unwrap()).await;
        assert_eq!(
            (post.code, &post.headers["allow"]),
            (405, &"GET, HEAD, OPTIONS".parse().unwrap())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_can_be_made_of_its_checks_by_the_user() {
    let quorum = |most: usize| {
        Group::new("quorum").aggregate(move |checks| {
            assert!(
                checks
                    .iter()
                    .all(|check| check.kind == CheckKind::Degrading)
            );
            match checks
                .iter()
                .filter(|check| check.status == Status::Ok)
                .count()
            {
                ok if ok >= most => Status::Ok,
                0 => panic!("none is left"),
                _ => Status::Degraded,
            }
        })
    };
    let with = |most, ok: usize| {
        let checks = (0..3).map(move |number| {
            let name = format!("replica-{number}");
            let check = if number < ok {
                Check::always_ok(name)
            } else {
                Check::always_down(name)
            };
            check.group("quorum")
        });
        Health::builder().group(quorum(most)).checks(checks)
    };
    for (ok, status, expected) in [
        (3, Status::Ok, 200),
        (2, Status::Ok, 200),
        (1, Status::Degraded, 200),
        // It panics: nobody knows, and that counts as down.
        (0, Status::Down, 503),
    ] {
        let health = start(with(2, ok)).await;
        assert_eq!(health.status("quorum"), Some(status));
        assert_eq!(code(&health, "/health/quorum").await, expected);
        assert_eq!(code(&health, "/ready").await, 200);
    }
    assert_eq!(Health::new().status("no"), None);
}

#[tokio::test]
async fn every_path_of_the_list_is_served_and_others_are_not() {
    let health = Health::builder()
        .check(Check::always_ok("db"))
        .build()
        .unwrap();
    for path in Probes::PATHS {
        let path = path.replace("{check}", "db");
        assert!(Probes::serves(&path));
        assert_ne!(code(&health, &path).await, 404, "{path}");
        // A slash at the end makes no difference.
        let slash = format!("{path}/");
        assert!(Probes::serves(&slash));
        assert_eq!(code(&health, &slash).await, code(&health, &path).await);
    }
    for path in [
        "/",
        "/health//",
        "//ready",
        "/checks/db",
        "/health/db/x",
        "/Health",
        "/metrics",
    ] {
        assert!(!Probes::serves(path), "{path}");
        let answer = get(&health, path).await;
        assert_eq!(answer.code, 404);
        assert_eq!(answer.json()["paths"], json!(Probes::PATHS));
    }
}

#[tokio::test]
async fn the_list_of_checks_can_stand_anywhere() {
    let health = Health::builder()
        .check(Check::always_ok("db"))
        .build()
        .unwrap();
    let request = Request::get("/anything?checks=db").body(()).unwrap();
    assert_eq!(send(health.checks(), request).await.code, 200);
}
