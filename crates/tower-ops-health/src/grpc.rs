//! `grpc.health.v1`: the groups of checks as services.

mod messages;
mod server;
mod watch;

pub use self::server::HealthServer;
