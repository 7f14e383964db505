//! The names of the metrics, in the Prometheus spelling of the OpenTelemetry
//! conventions where those have one.

use metrics::Unit;

pub(crate) const DURATION: &str = "http_server_request_duration_seconds";
pub(crate) const FIRST_BYTE: &str = "http_server_time_to_first_byte_seconds";
pub(crate) const REQUEST_SIZE: &str = "http_server_request_body_size_bytes";
pub(crate) const RESPONSE_SIZE: &str = "http_server_response_body_size_bytes";
pub(crate) const ACTIVE: &str = "http_server_active_requests";
pub(crate) const RPC_DURATION: &str = "rpc_server_call_duration_seconds";
pub(crate) const IN_FLIGHT: &str = "server_in_flight_requests";
pub(crate) const REQUESTS: &str = "server_requests_total";
pub(crate) const IDS_REPLACED: &str = "server_request_ids_replaced_total";
pub(crate) const OVERFLOW: &str = "tower_ops_metrics_overflow_total";

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

pub(crate) struct Description {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Unit,
    pub(crate) help: &'static str,
}

pub(crate) const ALL: [Description; 10] = [
    Description {
        name: DURATION,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        help: "Time from a request's head to the end of its response's body.",
    },
    Description {
        name: FIRST_BYTE,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        help: "Time from a request's head to its response's head.",
    },
    Description {
        name: REQUEST_SIZE,
        kind: Kind::Histogram,
        unit: Unit::Bytes,
        help: "Size of request bodies: announced, or as far as they were read. Requests without a body are left out.",
    },
    Description {
        name: RESPONSE_SIZE,
        kind: Kind::Histogram,
        unit: Unit::Bytes,
        help: "Bytes of response bodies that were sent.",
    },
    Description {
        name: ACTIVE,
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "HTTP requests that are being served.",
    },
    Description {
        name: RPC_DURATION,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        help: "Time from the start of a gRPC call to the end of its response.",
    },
    Description {
        name: IN_FLIGHT,
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Requests of any protocol that are being served.",
    },
    Description {
        name: REQUESTS,
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Requests of any protocol that ended, by how they ended.",
    },
    Description {
        name: IDS_REPLACED,
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Requests whose request id was invalid and was replaced.",
    },
    Description {
        name: OVERFLOW,
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Requests that were counted under {overflow} because the cap on series was reached.",
    },
];
