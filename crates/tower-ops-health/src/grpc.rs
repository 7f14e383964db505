//! `grpc.health.v1`: the groups of checks as services.

mod health_server;
mod messages;
mod watch;

pub use self::health_server::HealthServer;
