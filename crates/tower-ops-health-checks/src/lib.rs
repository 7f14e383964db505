//! Ready-made checks for [`tower_ops_health`], each behind a feature of its own.
//!
//! Each is a builder that ends in `into_check(name)`, which makes a
//! [`Check`](tower_ops_health::Check). Problems in its settings are returned with all others when
//! that check is [built](tower_ops_health::HealthBuilder::build) or
//! [added](tower_ops_health::Health::add).
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use tower_ops_health::Health;
//! use tower_ops_health_checks::QueueDepth;
//!
//! let jobs = QueueDepth::new(|| 7).degraded_at(1_000).into_check("jobs");
//! let health = Health::builder()
//!     .check(jobs.period(Duration::from_secs(5)))
//!     .build()?;
//! # Ok::<(), tower_ops_health::ConfigError>(())
//! ```
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | check | looks at | brings |
//! |---|---|---|---|
//! | | [`QueueDepth`] | a number that should stay small | |
//! | `http` | `Http` | a status and a body; over `https` with `tls` | hyper |
//! | `tcp` | `Tcp` | whether a port accepts connections, and what it sends | |
//! | `dns` | `Dns` | whether a name resolves | hickory-resolver |
//! | `tls` | `Tls` | how long a certificate is valid | rustls with ring, x509-parser |
//! | `disk` | `Disk` | free space and inodes | rustix |
//! | `memory` | `Memory` | the memory of the cgroup, or of the machine | |
//! | `file` | `FileAge` | when a file was last written | |
//! | `runtime` | `RuntimeLag` | how long a task waits for its turn | |
//! | `sqlx` | `Pool` | a pool of sqlx 0.8: Postgres, MySQL, SQLite | sqlx without drivers |
//! | `redis` | `Redis` | `PING`, or the length of a list | redis 1 |
//!
//! # Limits
//!
//! `Http`, `Tcp` and `Tls` resolve names by the system's resolver, on a blocking thread that a
//! timeout does not end. Where that resolver hangs for long, give addresses, or use `Dns`.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "tcp", feature = "tls"))]
mod addr;
#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "file")]
mod file_age;
#[cfg(feature = "http")]
mod http;
mod limits;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "sqlx")]
mod pool;
mod queue_depth;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "runtime")]
mod runtime_lag;
#[cfg(feature = "tcp")]
mod tcp;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "disk")]
#[cfg_attr(docsrs, doc(cfg(feature = "disk")))]
pub use self::disk::Disk;
#[cfg(feature = "dns")]
#[cfg_attr(docsrs, doc(cfg(feature = "dns")))]
pub use self::dns::Dns;
#[cfg(feature = "file")]
#[cfg_attr(docsrs, doc(cfg(feature = "file")))]
pub use self::file_age::FileAge;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use self::http::Http;
#[cfg(feature = "memory")]
#[cfg_attr(docsrs, doc(cfg(feature = "memory")))]
pub use self::memory::Memory;
#[cfg(feature = "sqlx")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlx")))]
pub use self::pool::Pool;
pub use self::queue_depth::QueueDepth;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::Redis;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub use self::runtime_lag::RuntimeLag;
#[cfg(feature = "tcp")]
#[cfg_attr(docsrs, doc(cfg(feature = "tcp")))]
pub use self::tcp::Tcp;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use self::tls::Tls;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
