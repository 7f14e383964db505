//! One request after another, each to an instance of its own.

use tower_ops_state::{ErrorKind, StateBuilder};
use tower_ops_testing::Server;

use super::builder;
use super::client::{AUTH, JSON, ask};
use super::shelf::{Mode, Shelf};

/// One request to an instance of its own, and what has to come back.
pub(crate) struct Case {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    next: Mode,
    build: fn(StateBuilder) -> StateBuilder,
    status: u16,
    text: &'static str,
    /// What the shelf has afterwards.
    items: &'static [&'static str],
}

pub(crate) fn get(name: &'static str, status: u16, text: &'static str) -> Case {
    Case {
        name,
        method: "GET",
        path: "/state",
        headers: vec![AUTH],
        body: Vec::new(),
        next: Mode::Good,
        build: |builder| builder,
        status,
        text,
        items: &["old"],
    }
}

pub(crate) fn post(name: &'static str, body: &[u8], status: u16, text: &'static str) -> Case {
    Case {
        method: "POST",
        headers: vec![AUTH, JSON],
        body: body.to_owned(),
        ..get(name, status, text)
    }
}

impl Case {
    pub(crate) fn path(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    pub(crate) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn headers(self, headers: &[(&'static str, &'static str)]) -> Self {
        let headers = headers.to_owned();
        Self { headers, ..self }
    }

    pub(crate) fn next(self, next: Mode) -> Self {
        Self { next, ..self }
    }

    pub(crate) fn build(self, build: fn(StateBuilder) -> StateBuilder) -> Self {
        Self { build, ..self }
    }

    pub(crate) fn items(self, items: &'static [&'static str]) -> Self {
        Self { items, ..self }
    }

    pub(crate) async fn run(self) {
        let name = self.name;
        let shelf = Shelf::new("shelf", &["old"]);
        let state = (self.build)(builder(&shelf)).build().unwrap();
        let server = Server::spawn(state.service()).await;
        shelf.next(self.next);
        let (head, body) = ask(
            server.addr(),
            self.method,
            self.path,
            &self.headers,
            &self.body,
        )
        .await;
        let text = String::from_utf8_lossy(&body);
        assert_eq!(head.status, self.status, "{name}: {text}");
        assert!(text.contains(self.text), "{name}: {text}");
        assert_eq!(*shelf.items(), self.items, "{name}");
        assert_eq!(head.headers["cache-control"], "no-store", "{name}");
        assert_eq!(head.headers["content-type"], "application/json", "{name}");
        if self.status == 401 {
            assert_eq!(head.headers["www-authenticate"], "Bearer");
        }
        if self.status == 200 && !self.path.contains("resume") {
            assert!(head.headers.contains_key("x-tower-ops-state-digest"));
            assert!(head.headers.contains_key("x-tower-ops-state-generation"));
        }
        // Whatever it was, nothing is left locked; what hangs has a thread of its own, which
        // lets go a moment after the answer.
        for attempt in 0.. {
            let busy = state.capture().await.err().map(|error| error.kind());
            if busy != Some(ErrorKind::Busy) {
                break;
            }
            assert!(attempt < 1_000, "{name}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
