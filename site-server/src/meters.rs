//! What the server itself counts, beside the counters in the database: requests, connections, sign-ins, failures.
//!
//! One recorder for each site, not one for the process: tests run many sites in one.

mod counted;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub(crate) use counted::Counted;

/// Upper ends of the buckets of durations, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
const ABOUT: Metadata<'static> = Metadata::new("site", Level::INFO, None);

const REQUESTS: &str = "furoshiki_requests_total";
const SECONDS: &str = "furoshiki_request_seconds";
const CONNECTIONS: &str = "furoshiki_connections";
const RECEIVED: &str = "furoshiki_connection_bytes_received_total";
const SENT: &str = "furoshiki_connection_bytes_sent_total";
const SIGN_INS: &str = "furoshiki_sign_ins_total";
const FAILURES: &str = "furoshiki_failures_total";
const RELOADS: &str = "furoshiki_certificate_reloads_total";

/// Classes of status as labels, in the order of their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counters of one server since it started.
pub(crate) struct Meters {
    recorder: PrometheusRecorder,
    /// By route: looking one up by its labels costs more than answering from memory does.
    routes: RwLock<HashMap<String, Arc<OfRoute>>>,
    handle: PrometheusHandle,
    pub(crate) connections: Gauge,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

/// What is counted of a route.
struct OfRoute {
    seconds: Histogram,
    /// A class appears with its first answer.
    classes: [std::sync::OnceLock<Counter>; CLASSES.len()],
}

/// What lay behind an answer with 5xx: the handler puts it into the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed(pub(crate) &'static str);

impl Meters {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // Only an empty list is refused.
        let builder = builder.set_buckets(&BUCKETS).unwrap_or_default();
        let recorder = builder.build_recorder();
        for (name, help) in [
            (REQUESTS, "Requests answered, by route and class of status."),
            (CONNECTIONS, "Connections open now."),
            (RECEIVED, "Bytes received on connections, after TLS."),
            (SENT, "Bytes sent on connections, before TLS."),
            (
                SIGN_INS,
                "Sign-ins at PCs (card) and in the portal, by outcome.",
            ),
            (
                FAILURES,
                "Requests that failed at the site, by what did not work.",
            ),
            (RELOADS, "Certificates taken while running, by outcome."),
        ] {
            let (name, help) = (KeyName::from(name), SharedString::from(help));
            if name.as_str() == CONNECTIONS {
                recorder.describe_gauge(name, None, help);
            } else {
                recorder.describe_counter(name, None, help);
            }
        }
        let help = "Seconds from the request to the head of its answer, by route.";
        recorder.describe_histogram(KeyName::from(SECONDS), None, help.into());
        let key = Key::from_static_name;
        let meters = Self {
            handle: recorder.handle(),
            connections: recorder.register_gauge(&key(CONNECTIONS), &ABOUT),
            received: recorder.register_counter(&key(RECEIVED), &ABOUT),
            sent: recorder.register_counter(&key(SENT), &ABOUT),
            routes: RwLock::default(),
            recorder,
        };
        // Seen from the start: a rate over something that appears with its first failure misses it.
        for what in ["database", "objects", "disk", "full", "other"] {
            meters.counter(FAILURES, &[("what", what)]).increment(0);
        }
        for how in ["card", "portal"] {
            for outcome in ["ok", "refused", "throttled"] {
                meters
                    .counter(SIGN_INS, &[("how", how), ("outcome", outcome)])
                    .increment(0);
            }
        }
        for outcome in ["ok", "refused"] {
            meters
                .counter(RELOADS, &[("outcome", outcome)])
                .increment(0);
        }
        meters
    }

    fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
        let labels = labels
            .iter()
            .map(|(name, value)| Label::new(*name, (*value).to_owned()));
        Key::from_parts(name, labels.collect::<Vec<_>>())
    }

    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder
            .register_counter(&Self::key(name, labels), &ABOUT)
    }

    fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder
            .register_histogram(&Self::key(name, labels), &ABOUT)
    }

    fn of_route(&self, route: &str) -> Arc<OfRoute> {
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = known.get(route) {
            return meter.clone();
        }
        drop(known);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(OfRoute {
                seconds: self.histogram(SECONDS, &[("route", route)]),
                classes: Default::default(),
            })
        };
        routes.entry(route.to_owned()).or_insert_with(new).clone()
    }

    /// A request was answered. `route` is one of the router's, never what was asked for: that anybody may choose.
    pub(crate) fn answered(
        &self,
        method: &Method,
        route: &str,
        (status, failed): (StatusCode, Option<Failed>),
        took: Duration,
    ) {
        let meter = self.of_route(route);
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let (Some(cell), Some(class)) = (meter.classes.get(class), CLASSES.get(class)) {
            let labels = [("route", route), ("class", class)];
            cell.get_or_init(|| self.counter(REQUESTS, &labels))
                .increment(1);
        }
        meter.seconds.record(took.as_secs_f64());
        if let Some(how) = sign_in(method, route) {
            let outcome = match status {
                StatusCode::TOO_MANY_REQUESTS => "throttled",
                status if status.is_success() || status.is_redirection() => "ok",
                _ => "refused",
            };
            self.counter(SIGN_INS, &[("how", how), ("outcome", outcome)])
                .increment(1);
        }
        if status.is_server_error() {
            let what = failed.map_or("other", |failed| failed.0);
            self.counter(FAILURES, &[("what", what)]).increment(1);
        }
    }

    pub(crate) fn reloaded(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "refused" };
        self.counter(RELOADS, &[("outcome", outcome)]).increment(1);
    }

    /// As Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn sign_in(method: &Method, route: &str) -> Option<&'static str> {
    if *method != Method::POST {
        return None;
    }
    match route {
        site_api::path::SIGN_IN => Some("card"),
        "/sign-in" => Some("portal"),
        _ => None,
    }
}
