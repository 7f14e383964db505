//! One id for a request, whoever asks: the handler, what it spawns, whom it
//! calls, and the client.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::collections::HashSet;

use serde_json::{Value, json};
use tower_ops_tests::{Answer, Protocol, Samples, Service};

const HEADER: &str = "x-request-id";

#[tokio::test]
async fn a_valid_id_comes_back_and_everybody_agrees() {
    let service = Service::start("playground").await;
    let longest = "x".repeat(128);
    let visible: String = ('!'..='~').collect();
    for protocol in Protocol::ALL {
        for id in ["a", "order-7", "~{\"}!", &longest, &visible] {
            assert_eq!(agreed(&service, protocol, &[(HEADER, id)]).await, [id; 3]);
        }
    }
    let samples = service.scrape_idle().await;
    assert_eq!(replaced(&samples), 0);
}

#[tokio::test]
async fn an_invalid_id_is_replaced_for_everybody() {
    let service = Service::start("playground").await;
    let too_long = "x".repeat(129);
    let far_too_long = "x".repeat(5_000);
    let invalid: [&[&str]; 12] = [
        &[&too_long],
        &[&far_too_long],
        &["\u{fc}mlaut"],
        &["a\u{a0}b"],
        &["\u{1f980}"],
        &["tab\tinside"],
        &["two words"],
        &[""],
        &["first", "second"],
        &["twice", "twice"],
        &["", "second"],
        &["valid", "tab\tinside"],
    ];
    let mut sent = 0;
    for protocol in Protocol::ALL {
        for ids in invalid {
            let headers: Vec<_> = ids.iter().map(|id| (HEADER, *id)).collect();
            let new = agreed(&service, protocol, &headers).await;
            for id in &new {
                assert_new(id);
                assert!(!ids.contains(&id.as_str()), "{id}");
            }
            sent += new.len();
        }
    }
    // Each was sent to /id, /headers and /call, which passes on the new one.
    let samples = service.scrape_idle().await;
    assert_eq!(replaced(&samples), sent);
}

#[tokio::test]
async fn without_an_id_every_request_gets_its_own() {
    let service = Service::start("playground").await;
    let mut seen = HashSet::new();
    for protocol in Protocol::ALL {
        for _ in 0..20 {
            for id in agreed(&service, protocol, &[]).await {
                assert_new(&id);
                assert!(seen.insert(id));
            }
        }
    }
    assert_eq!(replaced(&service.scrape_idle().await), 0);
}

#[tokio::test]
async fn hyper_itself_refuses_what_may_stand_in_no_header() {
    let service = Service::start("playground").await;
    for id in ["bell\u{7}", "\u{1}", "del\u{7f}", "escape\u{1b}[31m"] {
        let (status, headers, _) = service.get("/id", &[(HEADER, id)]).await;
        assert_eq!(status, 400, "{id:?}");
        // No request came out of it, so there is none to give an id to.
        assert!(!headers.contains_key(HEADER));
    }
    let samples = service.scrape_idle().await;
    assert_eq!(samples.count("server_requests_total", &[]), 0);
}

#[tokio::test]
async fn every_kind_of_answer_carries_the_id() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        for (method, path) in [
            ("GET", "/"),
            ("HEAD", "/"),
            ("GET", "/nowhere"),
            ("DELETE", "/echo"),
            ("POST", "/echo"),
            ("GET", "/status/204"),
            ("GET", "/status/304"),
            ("GET", "/status/500"),
            ("GET", "/slow/no-number"),
            ("GET", "/ws"),
            ("GET", "/nested/users/1"),
            ("GET", "/service/users/1"),
            ("GET", "/service/nowhere"),
            ("GET", "/call?to=/panic"),
            ("GET", "/stream/2/0"),
        ] {
            let headers = [(HEADER, "answer-1")];
            let answer = protocol.ask(service.app(), method, path, &headers, "");
            let answer = answer.await.unwrap();
            assert_eq!(answer.header(HEADER), "answer-1", "{method} {path}");
            assert_eq!(answer.headers.get_all(HEADER).iter().count(), 1);
        }
    }
}

/// Sends the same request to `/id`, `/headers` and `/call`, checks that within
/// each everybody agrees, and returns the ids.
async fn agreed(service: &Service, protocol: Protocol, headers: &[(&str, &str)]) -> [String; 3] {
    let answer = service.ask(protocol, "/id", headers).await;
    let first = id_of(&answer);
    let everywhere =
        json!({ "handler": first, "spawned": first, "header": first, "extension": first });
    assert_eq!(parse(&answer), everywhere);

    let answer = service.ask(protocol, "/headers", headers).await;
    let second = id_of(&answer);
    assert_eq!(parse(&answer)[HEADER], second);

    let answer = service.ask(protocol, "/call?to=/headers", headers).await;
    let third = id_of(&answer);
    let mut received = parse(&answer);
    let trace = received.as_object_mut().unwrap().remove("traceparent");
    assert!(trace.is_some(), "{received}");
    let expected = json!({ "host": service.app().to_string(), HEADER: third });
    assert_eq!(received, expected, "the callee's headers");
    [first, second, third]
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers.get_all(HEADER).iter().count(), 1);
    answer.header(HEADER).to_owned()
}

fn parse(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// A UUID of version 4.
fn assert_new(id: &str) {
    let parts: Vec<_> = id.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
    let hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(parts.iter().all(hex) && parts[2].starts_with('4'), "{id}");
}

fn replaced(samples: &Samples) -> usize {
    samples.count("server_request_ids_replaced_total", &[])
}
