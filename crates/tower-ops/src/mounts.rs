use http::{Method, request};
use tower_ops_admin::{Access, AdminBuilder, Mount, Role, Tokens};
use tower_ops_connections::Connections;
use tower_ops_health::Health;
use tower_ops_lifecycle::Lifecycle;
use tower_ops_metrics::Prometheus;
use tower_ops_requests::RequestTracker;
use tower_ops_state::{State, StateService};

use self::metrics_page::MetricsPage;
use self::state_page::StatePage;

mod metrics_page;
mod state_page;

/// What the bundle mounts on the operations endpoint.
pub(crate) struct Mounts<'a> {
    pub(crate) health: &'a Health,
    pub(crate) prometheus: Option<&'a Prometheus>,
    pub(crate) connections: &'a Connections,
    pub(crate) tracker: Option<&'a RequestTracker>,
    pub(crate) lifecycle: &'a Lifecycle,
    pub(crate) state: Option<&'a State>,
    #[cfg(feature = "logs")]
    pub(crate) logs: Option<&'a tower_ops_logs::Logs>,
    pub(crate) tokens: &'a Tokens,
    pub(crate) request_details: bool,
    pub(crate) prestop: Option<Access>,
    pub(crate) probe_aliases: bool,
}

/// A path of the bundle.
struct Row {
    part: Part,
    path: &'static str,
    about: &'static str,
    /// Further paths below it, with their texts in the index.
    links: &'static [(&'static str, &'static str)],
}

/// The service that is mounted on a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Metrics,
    Connections,
    Requests,
    /// The filter of the log, if there is [one](crate::OpsBuilder::logs).
    LogLevel,
    /// The last lines of that log, if it keeps them.
    LastLines,
    Probe,
    /// All checks with their details, which may take long to render.
    Checks,
    /// Another path of a probe, if [`probe_aliases`](crate::OpsBuilder::probe_aliases) is set.
    Alias,
    State,
    Prestop,
}

/// Every path of the operations endpoint but those of its index, in the order of the index. An
/// application cannot mount any of them.
const TABLE: [Row; 14] = [
    Row::new(Part::Metrics, "/metrics", "for Prometheus", &[]),
    Row::new(
        Part::Connections,
        "/connections",
        "what is connected; DELETE closes one",
        &[("/connections/{id}", "one of them")],
    ),
    Row::new(
        Part::Requests,
        "/requests",
        "what is in flight",
        &[
            ("/requests/history", "what ended, and how"),
            ("/requests/stats", "counts and latencies by route"),
        ],
    ),
    Row::new(
        Part::LogLevel,
        "/loglevel",
        "what it logs; PUT changes it, for a while with ?for=10m",
        &[],
    ),
    Row::new(
        Part::LastLines,
        "/logs",
        "what it logged last, of one request with ?request_id=",
        &[],
    ),
    Row::new(
        Part::Probe,
        "/health",
        "must it be restarted?",
        &[
            ("/health/ping", "can it answer?"),
            ("/health/{check}", "how is this check, or group?"),
        ],
    ),
    Row::new(Part::Probe, "/ready", "may it be sent requests?", &[]),
    Row::new(Part::Probe, "/startup", "has it finished starting?", &[]),
    Row::new(Part::Checks, "/checks", "what it depends on", &[]),
    Row::new(Part::Alias, "/livez", "", &[]),
    Row::new(Part::Alias, "/readyz", "", &[]),
    Row::new(Part::Alias, "/healthz", "", &[]),
    Row::new(
        Part::State,
        "/state",
        "what it knows: GET captures, POST restores",
        &[],
    ),
    Row::new(
        Part::Prestop,
        "/prestop",
        "stops it, for Kubernetes: GET or POST",
        &[],
    ),
];

impl Row {
    const fn new(
        part: Part,
        path: &'static str,
        about: &'static str,
        links: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            part,
            path,
            about,
            links,
        }
    }
}

/// Returns the problems with what the application has mounted: paths of the bundle, and paths below
/// them. Those that only some services have are free for the others.
pub(crate) fn overlaps(
    admin: &AdminBuilder,
    probe_aliases: bool,
    has_logs: bool,
) -> impl Iterator<Item = String> {
    let is_taken = move |row: &&Row| match row.part {
        Part::Alias => probe_aliases,
        Part::LogLevel | Part::LastLines => has_logs,
        _ => true,
    };
    TABLE.iter().filter(is_taken).filter_map(|row| {
        let (path, own) = (admin.overlap(row.path)?, row.path);
        Some(format!(
            "operations: mount {path:?}: overlaps with {own:?}, which the operations endpoint has \
             itself"
        ))
    })
}

impl Mounts<'_> {
    /// Mounts everything after what the application has mounted.
    pub(crate) fn add_to(&self, admin: AdminBuilder) -> AdminBuilder {
        let lifecycle = self.lifecycle.clone();
        let admin = admin.phase(move || lifecycle.phase().as_str().into());
        let mounts = TABLE.iter().filter_map(|row| self.mount(row));
        mounts.fold(admin, AdminBuilder::mount)
    }

    /// Returns the mount, unless the part is left out. Every part answers OPTIONS itself.
    fn mount(&self, row: &Row) -> Option<Mount> {
        let path = row.path;
        let mount = match row.part {
            Part::Metrics => {
                let page = MetricsPage::new(self.prometheus, self.lifecycle);
                Mount::new(path, page).reads_only()
            }
            Part::Connections => self.connections(path),
            Part::Requests => {
                let service = self.tracker?.service().details_if(self.may_see());
                Mount::new(path, service).reads_only()
            }
            Part::LogLevel => self.log_level(path)?,
            Part::LastLines => self.last_lines(path)?,
            Part::Probe => self.probes(path).probe(),
            Part::Checks => self.probes(path),
            Part::Alias if self.probe_aliases => {
                let probes = self.health.probes().with_aliases();
                let mount = Mount::new(path, probes).access(Access::Public);
                mount.reads_only().probe()
            }
            Part::Alias => return None,
            Part::State => Self::state(path, self.state?),
            Part::Prestop => self.prestop(path, self.prestop?),
        };
        let mount = mount.about(row.about).answers_options();
        if row.links.is_empty() {
            return Some(mount);
        }
        let links = row.links.iter();
        Some(links.fold(mount.subpaths(), |mount, (path, about)| {
            mount.link(*path, *about)
        }))
    }

    fn probes(&self, path: &'static str) -> Mount {
        let mount = Mount::new(path, self.health.probes());
        mount.access(Access::Public).reads_only()
    }

    fn connections(&self, path: &'static str) -> Mount {
        let (service, tokens) = (self.connections.service(), self.tokens.clone());
        let may_close =
            move |parts: &request::Parts| tokens.role(&parts.headers) == Some(Role::Write);
        let service = service.details_if(self.may_see()).close_if(may_close);
        Mount::new(path, service).changes_if(|method, _| *method == Method::DELETE)
    }

    #[cfg(feature = "logs")]
    fn log_level(&self, path: &'static str) -> Option<Mount> {
        let mount = Mount::new(path, self.logs?.level_service());
        Some(mount.changes_if(|method, _| *method == Method::PUT))
    }

    #[cfg(feature = "logs")]
    fn last_lines(&self, path: &'static str) -> Option<Mount> {
        let service = self.logs?.ring_service()?.allow_if(self.may_see());
        Some(Mount::new(path, service).reads_only())
    }

    #[cfg(not(feature = "logs"))]
    const fn log_level(&self, _: &'static str) -> Option<Mount> {
        None
    }

    #[cfg(not(feature = "logs"))]
    const fn last_lines(&self, _: &'static str) -> Option<Mount> {
        None
    }

    /// The service has a token, limits and timeouts of its own.
    fn state(path: &'static str, state: &State) -> Mount {
        Mount::new(path, StatePage(state.service()))
            .access(Access::Own)
            .changes_need(Access::Own)
            .changes_if(StateService::changes)
            .timeout(None)
            .max_body(None)
    }

    fn prestop(&self, path: &'static str, access: Access) -> Mount {
        Mount::new(path, self.lifecycle.prestop())
            .access(access)
            .changes_need(access)
            .changes_if(|method, _| matches!(*method, Method::GET | Method::POST))
            .probe()
            // It answers when the pre-drain is over, which has a timeout.
            .timeout(None)
    }

    /// Returns whether a request may see what clients sent.
    fn may_see(&self) -> impl Fn(&request::Parts) -> bool + Clone + Send + Sync + 'static {
        let (tokens, everybody) = (self.tokens.clone(), self.request_details);
        move |parts: &request::Parts| everybody || tokens.role(&parts.headers).is_some()
    }
}

#[cfg(test)]
mod tests {
    use tower_ops_health::Probes;

    use super::*;

    #[test]
    fn every_path_of_the_probes_is_in_the_table() {
        let all = TABLE.iter().flat_map(|row| {
            let links = row.links.iter().map(|(path, _)| *path);
            std::iter::once(row.path).chain(links)
        });
        let all: Vec<_> = all.collect();
        for path in Probes::PATHS.iter().chain(Probes::ALIASES) {
            assert!(all.contains(path), "{path}");
        }
    }
}
