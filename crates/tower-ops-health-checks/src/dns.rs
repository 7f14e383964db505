use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use tower_ops_health::{Check, CheckResult};

/// Checks that a name resolves, and to the right addresses.
///
/// Uses hickory, which blocks no thread: a resolver that does not answer costs the check's timeout
/// and nothing else. Nothing is cached.
///
/// # Examples
///
/// ```
/// use tower_ops_health_checks::Dns;
///
/// let dns = Dns::new("db.internal.example").expect("10.0.0.7".parse()?);
/// let check = dns.into_check("dns");
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[derive(Clone)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Dns {
    name: String,
    expect: Vec<IpAddr>,
    resolver: Option<TokioResolver>,
}

impl Dns {
    /// Checks that name, by the system's resolvers. Down if it has no address.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            expect: Vec::new(),
            resolver: None,
        }
    }

    /// Adds an address that has to be among the answers.
    pub fn expect(mut self, addr: IpAddr) -> Self {
        self.expect.push(addr);
        self
    }

    /// Uses this resolver, with its cache, in place of the system's.
    pub fn resolver(mut self, resolver: TokioResolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let Self {
            name: host,
            expect,
            resolver,
        } = self;
        let mut problems = Vec::new();
        if host.is_empty() || host.len() > 255 || host.contains(char::is_whitespace) {
            problems.push(format!("name: {host:?} is not a host's name"));
        }
        let resolver = resolver.map_or_else(system, Ok).map_err(|error| {
            problems.push(format!("resolver: {error}"));
        });
        // A check with problems never runs.
        let resolver = resolver.ok();
        let target: Arc<(String, Vec<IpAddr>)> = Arc::new((host, expect));
        let check = Check::new(name, move || {
            let (resolver, target) = (resolver.clone(), Arc::clone(&target));
            async move {
                let Some(resolver) = resolver else {
                    return CheckResult::down("there is no resolver");
                };
                let (host, expect) = &*target;
                match resolver.lookup_ip(host.as_str()).await {
                    Ok(found) => judge(&found.iter().collect::<Vec<_>>(), expect),
                    Err(error) => Err::<(), _>(error).into(),
                }
            }
        });
        check.problems(problems)
    }
}

fn system() -> Result<TokioResolver, String> {
    let text = |error: hickory_resolver::net::NetError| error.to_string();
    let mut builder = TokioResolver::builder_tokio().map_err(text)?;
    // A cached answer would hide a failure.
    builder.options_mut().cache_size = 0;
    builder.build().map_err(text)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are not so many addresses"
)]
fn judge(found: &[IpAddr], expect: &[IpAddr]) -> CheckResult {
    let missing = expect.iter().find(|addr| !found.contains(addr));
    let result = match missing {
        _ if found.is_empty() => CheckResult::down("the name has no address"),
        Some(addr) => CheckResult::down(format!("{addr} is not among the addresses")),
        None => CheckResult::ok(),
    };
    result.value(found.len() as f64, "addresses")
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns")
            .field("name", &self.name)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}
