//! Checks that are ready-made, each behind a feature of its name.
//!
//! Each is a builder that ends in `check(name)`, which gives a [`Check`](crate::Check). What is
//! wrong with its settings is told when that is [built](crate::HealthBuilder::build) or
//! [added](crate::Health::add), with everything else.
//!
//! | check | feature | looks at | what it pulls in |
//! |---|---|---|---|
//! | [`QueueDepth`] | | a number that should stay small | |
//! | `Http` | `http` | a status and a body, over `https` with `tls` | hyper |
//! | `Tcp` | `tcp` | a connection, and what is said on it | |
//! | `Dns` | `dns` | whether a name resolves | hickory-resolver |
//! | `Tls` | `tls` | how long a certificate is valid | rustls with ring, x509-parser |
//! | `Disk` | `disk` | free space and inodes | rustix |
//! | `Memory` | `memory` | the cgroup's memory, or the machine's | |
//! | `FileAge` | `file` | when a file was last written | |
//! | `RuntimeLag` | `runtime` | how long a task waits for its turn | |
//! | `Pool` | `sqlx` | a pool of sqlx 0.8: Postgres, MySQL, SQLite | sqlx without drivers |
//! | `Redis` | `redis` | `PING`, or a list's length | redis 1 |

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
mod queue;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "runtime")]
mod runtime;
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
pub use self::queue::QueueDepth;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::Redis;
#[cfg(feature = "runtime")]
#[cfg_attr(docsrs, doc(cfg(feature = "runtime")))]
pub use self::runtime::RuntimeLag;
#[cfg(feature = "tcp")]
#[cfg_attr(docsrs, doc(cfg(feature = "tcp")))]
pub use self::tcp::Tcp;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use self::tls::Tls;
