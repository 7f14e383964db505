//! No descriptors left: alone in its process, since it takes them all.
#![cfg(all(feature = "server", unix))]

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusBuilder;
use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tower::service_fn;
use tower_ops_admin::{Access, Admin, AdminRequestBody, Mount};

#[test]
fn probes_are_answered_while_the_process_has_no_descriptors_left() {
    let limit = getrlimit(Resource::Nofile);
    let less = Rlimit {
        current: Some(256),
        ..limit
    };
    setrlimit(Resource::Nofile, less).unwrap();
    let service = service_fn(async |_: Request<AdminRequestBody>| {
        Ok::<_, Infallible>(Response::new("pong".to_owned()))
    });
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let ping = Mount::new("/ping", service).access(Access::Public).probe();
    let admin = Admin::builder("test")
        .mount(ping)
        .recorder(Arc::new(recorder));
    let endpoint = admin
        .build()
        .unwrap()
        .start((Ipv4Addr::LOCALHOST, 0))
        .unwrap();
    let addr = endpoint.addr();

    // The clients' own, before there are none.
    let clients: Vec<_> = (0..100)
        .map(|_| socket(AddressFamily::INET, SocketType::STREAM, None).unwrap())
        .collect();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    assert!(taken.len() > 50);
    for (nth, client) in clients.into_iter().enumerate() {
        connect(&client, &addr).unwrap();
        let mut client = TcpStream::from(client);
        let timeout = Some(Duration::from_secs(1));
        client.set_read_timeout(timeout).unwrap();
        client.write_all(b"GET /ping HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .unwrap_or_else(|error| panic!("probe {nth}: {error}"));
        assert!(answer.ends_with("pong"), "probe {nth}: {answer}");
        // Kept, so that nothing comes back: only what the endpoint keeps is used.
        taken.push(File::from(std::os::fd::OwnedFd::from(client)));
    }
    let metrics = handle.render();
    assert!(
        metrics.contains("admin_accept_errors_total{error=\"descriptors\"}"),
        "{metrics}"
    );
    drop(taken);
    setrlimit(Resource::Nofile, limit).unwrap();
}
