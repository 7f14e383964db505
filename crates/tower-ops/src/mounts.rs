use http::{Method, request};
use tower_ops_admin::{Access, AdminBuilder, ConfigError, Mount, Role, Tokens};
use tower_ops_connections::Connections;
use tower_ops_health::{Health, Probes};
use tower_ops_lifecycle::Lifecycle;
use tower_ops_metrics::Prometheus;
use tower_ops_requests::RequestTracker;
use tower_ops_state::{State, StateService};

use crate::metrics_page::MetricsPage;
use crate::state_page::StatePage;

/// What the bundle mounts on the operations endpoint.
pub(crate) struct Mounted<'a> {
    pub(crate) health: &'a Health,
    pub(crate) prometheus: Option<&'a Prometheus>,
    pub(crate) connections: &'a Connections,
    pub(crate) tracker: Option<&'a RequestTracker>,
    pub(crate) lifecycle: &'a Lifecycle,
    pub(crate) state: Option<&'a State>,
    pub(crate) tokens: &'a Tokens,
    pub(crate) request_details: bool,
    pub(crate) prestop: Option<Access>,
    pub(crate) probe_aliases: bool,
}

const METRICS: &str = "/metrics";
const CONNECTIONS: &str = "/connections";
const REQUESTS: &str = "/requests";
const PRESTOP: &str = "/prestop";
const STATE: &str = "/state";
const CHECKS: &str = "/checks";
/// Those of the probes, and whether there are paths below.
const PROBES: [(&str, bool, &str); 4] = [
    ("/health", true, "must it be restarted?"),
    ("/ready", false, "may it be sent requests?"),
    ("/startup", false, "has it finished starting?"),
    (CHECKS, false, "what it depends on"),
];

/// Checks what a user has set, beside the paths of the bundle: before anything is built that
/// cannot be taken back.
pub(crate) fn check(admin: &AdminBuilder, probe_aliases: bool) -> Result<(), ConfigError> {
    // Only the paths matter here.
    let reserved = |path| Mount::new(path, Health::new().probes());
    let paths = [METRICS, REQUESTS, CONNECTIONS, PRESTOP, STATE].into_iter();
    let paths = paths.chain(PROBES.iter().map(|(path, ..)| *path));
    let aliases = Probes::ALIASES.iter().copied().filter(|_| probe_aliases);
    let admin = paths.chain(aliases).fold(admin.clone(), |admin, path| {
        admin.mount(reserved(path).subpaths())
    });
    admin.build().map(drop)
}

impl Mounted<'_> {
    /// Mounts everything after what the user has.
    pub(crate) fn on(&self, admin: AdminBuilder) -> AdminBuilder {
        let lifecycle = self.lifecycle.clone();
        let mut admin = admin
            .phase(move || lifecycle.phase().as_str().into())
            .mount(self.metrics())
            .mount(self.connections());
        if let Some(tracker) = self.tracker {
            admin = admin.mount(self.requests(tracker));
        }
        for (path, has_more, about) in PROBES {
            let mut mount = Mount::new(path, self.health.probes())
                .about(about)
                .access(Access::Public)
                .reads_only()
                .answers_options();
            // Those list at most one check, unless somebody may see more.
            if path != CHECKS {
                mount = mount.probe();
            }
            if has_more {
                mount = mount
                    .subpaths()
                    .link("/health/ping", "can it answer?")
                    .link("/health/{check}", "how is this check, or group?");
            }
            admin = admin.mount(mount);
        }
        if self.probe_aliases {
            for path in Probes::ALIASES {
                let probes = self.health.probes().with_aliases();
                let mount = Mount::new(*path, probes).access(Access::Public);
                admin = admin.mount(mount.reads_only().answers_options().probe());
            }
        }
        if let Some(state) = self.state {
            admin = admin.mount(Self::state(state));
        }
        match self.prestop {
            Some(access) => admin.mount(self.prestop(access)),
            None => admin,
        }
    }

    fn metrics(&self) -> Mount {
        Mount::new(METRICS, MetricsPage::new(self.prometheus, self.lifecycle))
            .about("for Prometheus")
            .reads_only()
            .answers_options()
    }

    fn connections(&self) -> Mount {
        let (service, tokens) = (self.connections.service(), self.tokens.clone());
        let may_close =
            move |parts: &request::Parts| tokens.role(&parts.headers) == Some(Role::Write);
        let service = service.details_if(self.may_see()).close_if(may_close);
        Mount::new(CONNECTIONS, service)
            .about("what is connected; DELETE closes one")
            .answers_options()
            .changes_if(|method, _| *method == Method::DELETE)
            .subpaths()
            .link("/connections/{id}", "one of them")
    }

    fn requests(&self, tracker: &RequestTracker) -> Mount {
        Mount::new(REQUESTS, tracker.service().details_if(self.may_see()))
            .about("what is in flight")
            .subpaths()
            .link("/requests/history", "what ended, and how")
            .link("/requests/stats", "counts and latencies by route")
            .reads_only()
            .answers_options()
    }

    /// It has a token, limits and timeouts of its own.
    fn state(state: &State) -> Mount {
        Mount::new(STATE, StatePage(state.service()))
            .about("what it knows: GET captures, POST restores")
            .access(Access::Own)
            .changes_need(Access::Own)
            .changes_if(StateService::changes)
            .answers_options()
            .timeout(None)
            .max_body(None)
    }

    fn prestop(&self, access: Access) -> Mount {
        Mount::new(PRESTOP, self.lifecycle.prestop())
            .about("stops it, for Kubernetes: GET or POST")
            .access(access)
            .changes_need(access)
            .changes_if(|method, _| matches!(*method, Method::GET | Method::POST))
            .answers_options()
            .probe()
            // It answers when the pre-drain is over, which is bounded.
            .timeout(None)
    }

    /// Whether somebody may see what clients sent.
    fn may_see(&self) -> impl Fn(&request::Parts) -> bool + Clone + Send + Sync + 'static {
        let (tokens, everybody) = (self.tokens.clone(), self.request_details);
        move |parts: &request::Parts| everybody || tokens.role(&parts.headers).is_some()
    }
}
