/// What a mount needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Nothing: probes. Where the endpoint is on the application's port, what changes something
    /// needs a token for writing all the same.
    Public,
    /// A token that the service asks for itself.
    Own,
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
