use tower_ops_admin::{Access, AdminBuilder, Secret, TokensBuilder};

use super::OpsBuilder;
use super::addr::{OpsAddr, into_text};

/// The operations endpoint.
impl OpsBuilder {
    /// Sets where the operations endpoint listens: an IP address and a port, as text or as an
    /// address. `[::]:8080` by default, which accepts IPv4 as well, since probes come to the pod's
    /// address. Port 0 is the first free port from 8080 to 9000, or any free port with
    /// [`ephemeral_port`](tower_ops_admin::AdminBuilder::ephemeral_port).
    #[must_use]
    pub fn ops_addr(mut self, addr: impl OpsAddr) -> Self {
        self.ops_addr = into_text(addr);
        self
    }

    /// Adds a bearer token for writing on the operations endpoint, of at least 16 characters: with
    /// it operators close connections, and see details of requests and of health checks. None by
    /// default: then nobody can close a connection. [`health`](Self::health) can let others see
    /// details of checks.
    ///
    /// The token is a string, or a [`Secret`] from elsewhere. For reading use
    /// [`tokens`](Self::tokens).
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Ops;
    ///
    /// let mut ops = Ops::builder("orders");
    /// if let Ok(token) = std::env::var("OPERATIONS_TOKEN") {
    ///     ops = ops.operations_token(token);
    /// }
    /// ```
    #[must_use]
    pub fn operations_token(self, token: impl Into<Secret>) -> Self {
        self.tokens(|tokens| tokens.write(token))
    }

    /// Adds tokens for the operations endpoint, from strings, the environment or files. Once there
    /// is one for reading, `/metrics`, `/requests` and the like need it. Probes never do.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Ops;
    /// use tower_ops::admin::Secret;
    ///
    /// let ops = Ops::builder("orders")
    ///     .tokens(|tokens| tokens.write(Secret::from_file("/etc/orders/operations-token")));
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn tokens(mut self, change: impl FnOnce(TokensBuilder) -> TokensBuilder) -> Self {
        self.tokens = change(self.tokens);
        self
    }

    /// Configures the operations endpoint: the application's version and build in its index, the
    /// name of its header, and services of your own on it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use http::Response;
    /// use tower::service_fn;
    /// use tower_ops::Ops;
    /// use tower_ops::admin::Mount;
    ///
    /// let jobs = service_fn(async |_| Ok::<_, Infallible>(Response::new("7 wait\n".to_owned())));
    /// let ops = Ops::builder("orders").operations(|admin| {
    ///     admin
    ///         .version(env!("CARGO_PKG_VERSION"))
    ///         .mount(Mount::new("/jobs", jobs).about("jobs that wait"))
    /// });
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn operations(mut self, change: impl FnOnce(AdminBuilder) -> AdminBuilder) -> Self {
        self.admin = change(self.admin);
        self
    }

    /// Sets the application's version, for the index of the operations endpoint and for the
    /// envelopes of its state. None by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops::Ops;
    ///
    /// let ops = Ops::builder("orders").version(env!("CARGO_PKG_VERSION"));
    /// # let _ = ops;
    /// ```
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        let version = version.into();
        self.admin = self.admin.version(version.as_str());
        self.state = self.state.map(|state| state.version(version.as_str()));
        self.version = Some(version);
        self
    }

    /// Sets whether `/requests` and `/connections` show paths, peers, request ids and notes to
    /// everybody who may read. Off by default, since they come from clients or are about them: only
    /// those who have a [token](Self::tokens) see them.
    #[must_use]
    pub const fn request_details(mut self, everybody: bool) -> Self {
        self.request_details = everybody;
        self
    }

    /// Answers `/livez`, `/readyz` and `/healthz` as `/health`, `/ready` and `/health`: the paths
    /// that Kubernetes' own components have. Off by default.
    #[must_use]
    pub const fn probe_aliases(mut self, enabled: bool) -> Self {
        self.probe_aliases = enabled;
        self
    }

    /// Leaves `/prestop` out, by which everybody who reaches the operations endpoint can stop the
    /// process. Use it if no `preStop` hook of Kubernetes needs that path.
    #[must_use]
    pub const fn without_prestop(mut self) -> Self {
        self.prestop = None;
        self
    }

    /// Sets what a request to `/prestop` needs. [`Access::Public`] by default, since old kubelets
    /// drop the headers of a hook: everybody who reaches the operations endpoint can stop the
    /// process.
    #[must_use]
    pub const fn prestop_needs(mut self, access: Access) -> Self {
        self.prestop = Some(access);
        self
    }
}
