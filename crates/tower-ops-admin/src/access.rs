use http::Method;

/// What a mount needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Nothing: probes, and services that ask for tokens of their own.
    Public,
    /// A token for reading, if one is set. The default.
    #[default]
    Read,
    /// A token for writing. Closed for everybody if none is set.
    Write,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// To look.
    Read,
    /// To change something; to look as well.
    Write,
}

/// The methods of RFC 9110, section 9.2.1, that ask for nothing to happen.
pub(crate) const fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
