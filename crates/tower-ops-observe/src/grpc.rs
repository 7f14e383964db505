//! gRPC: what counts as a call, its statuses, its methods, and how to answer one.

mod code;
mod methods;
mod protocol;
mod web;

pub use self::code::GrpcCode;
pub(crate) use self::methods::{GrpcMethods, method_of};
pub use self::protocol::GrpcProtocol;
pub use self::web::WebStatus;
