//! How services read a query and answer in JSON or text.
//!
//! Every answer ends in a newline, with `content-length`, `cache-control: no-store`
//! and `x-content-type-options: nosniff`. HEAD gets the headers that GET would, and no body;
//! OPTIONS gets GET's status and `Allow`. What went wrong is an object with the member `error`, and
//! what would have been right beside it. Nothing of the request is quoted. A duration is a member
//! whose name ends in `_ms`: see [`millis`].

mod accept;
mod answer;
mod body;
mod headers;
mod host;
mod path;
mod query;
mod time;
mod used_token;

pub use self::accept::{Accept, codings};
pub use self::answer::Answer;
pub use self::body::AnswerBody;
pub use self::headers::{allow, has_body, is_read, secure};
pub use self::host::{BadHost, Host};
pub use self::path::path;
pub use self::query::{BadQuery, DEFAULT_LIMIT, MAX_LIMIT, Query};
pub use self::time::millis;
pub use self::used_token::UsedToken;
