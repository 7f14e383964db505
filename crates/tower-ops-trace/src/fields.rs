use std::fmt;
use std::sync::OnceLock;

use http::{Uri, Version};
use tracing::Span;
use tracing::field::{Field, Value};

use crate::truncated::truncated;

/// The fields that spans of one call site get at their end. Looked up by their names once.
pub(crate) struct EndFields<const N: usize> {
    names: [&'static str; N],
    fields: OnceLock<[Field; N]>,
}

impl<const N: usize> EndFields<N> {
    pub(crate) const fn new(names: [&'static str; N]) -> Self {
        Self {
            names,
            fields: OnceLock::new(),
        }
    }

    /// Records the values in one call. What is `None` is not recorded.
    pub(crate) fn record(&self, span: &Span, values: [&dyn Value; N]) {
        let Some(metadata) = span.metadata() else {
            return;
        };
        let declared = metadata.fields();
        let find = |name| declared.field(name).expect("the span declares the field");
        let fields = self.fields.get_or_init(|| self.names.map(find));
        let mut at = 0;
        let values = values.map(|value| {
            at += 1;
            (&fields[at - 1], Some(value))
        });
        span.record_all(&declared.value_set(&values));
    }
}

/// `network.protocol.version`.
pub(crate) const fn version(version: Version) -> Option<&'static str> {
    Some(match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => return None,
    })
}

/// `url.full`: a target without its query and without credentials. A proxy's has a client's path.
pub(crate) struct FullUrl<'a>(pub(crate) &'a Uri);

impl fmt::Display for FullUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.0.scheme_str() {
            write!(f, "{scheme}://")?;
        }
        f.write_str(self.0.host().unwrap_or_default())?;
        if let Some(port) = self.0.port_u16() {
            write!(f, ":{port}")?;
        }
        f.write_str(truncated(self.0.path()))
    }
}
