//! The status as Prometheus text.
//!
//! The counters live with the workers, so there is nothing to record in between: every scrape fills a recorder of its
//! own with the sums of that moment. What is no longer configured is then no longer exported, without any bookkeeping.

use std::fmt::Display;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::dataplane::SteeredStatus;
use super::status::{BackendStatus, CookiesStatus, FailuresStatus, Kind, Status, Totals, Traffic};

/// The text format, version 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

static METADATA: Metadata<'static> = Metadata::new("xswitch", Level::INFO, None);

/// Renders a status.
pub fn render(status: &Status) -> String {
    let sheet = Sheet(PrometheusBuilder::new().build_recorder());
    sheet.process(status);
    sheet.frames(status);
    sheet.connections(status);
    sheet.workers(status);
    sheet.services(status);
    sheet.0.handle().render()
}

struct Sheet(PrometheusRecorder);

type Labels<'a> = &'a [(&'static str, &'a dyn Display)];

impl Sheet {
    fn set(&self, kind: Kind, name: &str, help: &'static str, labels: Labels<'_>, value: u64) {
        let labels: Vec<_> = labels.iter().map(|(key, value)| Label::new(*key, value.to_string())).collect();
        let key = Key::from_parts(name.to_owned(), labels);
        let key_name = KeyName::from(name.to_owned());
        match kind {
            Kind::Counter => {
                self.0.describe_counter(key_name, None, help.into());
                self.0.register_counter(&key, &METADATA).absolute(value);
            }
            Kind::Gauge => {
                self.0.describe_gauge(key_name, None, help.into());
                self.0.register_gauge(&key, &METADATA).set(value as f64);
            }
        }
    }

    fn counter(&self, name: &str, help: &'static str, labels: Labels<'_>, value: u64) {
        self.set(Kind::Counter, name, help, labels, value);
    }

    fn gauge(&self, name: &str, help: &'static str, labels: Labels<'_>, value: u64) {
        self.set(Kind::Gauge, name, help, labels, value);
    }

    fn process(&self, status: &Status) {
        self.gauge("xswitch_info", "Always 1; the version is a label", &[("version", &status.version)], 1);
        self.gauge("xswitch_uptime_seconds", "Seconds since the switch started", &[], status.uptime_s);
        let help = "Bytes of memory that the process holds, packet memory included";
        self.gauge("xswitch_resident_memory_bytes", help, &[], status.resident_bytes);
        self.gauge("xswitch_snapshot_epoch", "Number of the newest snapshot", &[], status.epoch);
        if let Some(age) = status.view_age_s {
            let help = "Age of what is said of states and checks: 0 unless the control loop is busy";
            self.gauge("xswitch_view_age_seconds", help, &[], age);
        }
        if let Some(checks) = &status.checks {
            self.counter("xswitch_checks_total", "Health checks that have ended", &[], checks.checks);
            self.gauge("xswitch_checks_in_flight", "Health checks under way", &[], checks.in_flight);
            let help = "How late a health check began at the worst, in the last one to two minutes";
            self.gauge("xswitch_checks_late_max_milliseconds", help, &[], checks.late_max_ms.round() as u64);
        }
    }

    fn frames(&self, status: &Status) {
        let Totals {
            received, forwarded, replied, created, to_kernel, held, icmp_errors, icmp_limited, ..
        } = status.totals;
        for (name, help, value) in [
            ("received", "Frames taken from RX rings", received),
            ("forwarded", "Frames rewritten and handed to an egress ring", forwarded),
            ("replied", "Frames answered by the switch itself", replied),
            (
                "created",
                "Frames made besides those received: pieces of packets that were fragmented",
                created,
            ),
            ("to_kernel", "Frames that belong to no service", to_kernel),
        ] {
            self.counter(&format!("xswitch_frames_{name}_total"), help, &[], value);
        }
        self.gauge("xswitch_frames_held", "Fragments that wait for the first of their datagram", &[], held);
        let help = "ICMP errors sent, each in place of a frame that was dropped";
        self.counter("xswitch_icmp_errors_total", help, &[], icmp_errors);
        let help = "ICMP messages not sent because of icmp_rate";
        self.counter("xswitch_icmp_limited_total", help, &[], icmp_limited);
        for (reason, value) in &status.dropped {
            let help = "Frames dropped, by reason";
            self.counter("xswitch_frames_dropped_total", help, &[("reason", reason)], *value);
        }
    }

    fn connections(&self, status: &Status) {
        let connections = &status.connections;
        self.gauge("xswitch_connections_active", "Entries in use, of both tables", &[], connections.active);
        self.gauge("xswitch_connections_max", "Entries of the IPv4 table", &[], connections.max);
        let help = "Entries of the IPv6 table";
        self.gauge("xswitch_connections_max_ipv6", help, &[], connections.max_ipv6);
        for (name, help, value) in [
            ("created", "Connections created", connections.new),
            ("closed", "Connections removed", connections.closed),
            (
                "reclaimed",
                "Closed connections removed early because the table was nearly full",
                connections.reclaimed,
            ),
            (
                "displaced",
                "Unanswered connections that gave way to new ones because the table was full",
                connections.displaced,
            ),
        ] {
            self.counter(&format!("xswitch_connections_{name}_total"), help, &[], value);
        }
    }

    fn workers(&self, status: &Status) {
        for worker in &status.workers {
            let labels: Labels<'_> = &[("worker", &worker.worker)];
            for (name, help, value) in [
                ("turns", "Turns of the worker's loop", worker.turns),
                ("busy_turns", "Turns of the worker's loop that found something to do", worker.busy_turns),
                ("sleeps", "Times the worker went to sleep", worker.sleeps),
            ] {
                self.counter(&format!("xswitch_worker_{name}_total"), help, labels, value);
            }
            self.gauge("xswitch_worker_pool_level", "Frames free for use", labels, worker.pool_level);
            self.gauge("xswitch_worker_pool_size", "Frames in all", labels, worker.pool_size);
            for port in &worker.ports {
                let labels: Labels<'_> = &[("interface", &port.interface), ("worker", &worker.worker)];
                for (name, value, kind, help) in port.numbers() {
                    let suffix = if kind == Kind::Counter { "_total" } else { "" };
                    self.set(kind, &format!("xswitch_port_{name}{suffix}"), help, labels, value);
                }
            }
        }
        for port in &status.ports {
            let labels: Labels<'_> = &[("interface", &port.interface), ("queue", &port.queue)];
            let help = "1 while the interface of this queue is up";
            self.gauge("xswitch_port_up", help, labels, u64::from(port.link == "up"));
        }
        for steered in &status.steered {
            let SteeredStatus { interface, to_kernel, to_socket, to_peer, no_socket } = steered;
            let ways =
                [("kernel", to_kernel), ("socket", to_socket), ("peer", to_peer), ("no_socket", no_socket)];
            for (way, frames) in ways {
                let help = "Frames by where the XDP program sent them; no_socket: the kernel got what is the switch's";
                let labels: Labels<'_> = &[("interface", interface), ("way", &way)];
                self.counter("xswitch_xdp_frames_total", help, labels, *frames);
            }
        }
    }

    fn services(&self, status: &Status) {
        for service in &status.services {
            let labels: Labels<'_> = &[("service", &service.name)];
            self.traffic("xswitch_service", labels, &service.traffic);
            let help = "Frames of new connections that were dropped";
            self.counter("xswitch_service_refused_total", help, labels, service.refused);
            self.cookies(labels, service.syn_cookies);
            for backend in &service.backends {
                let labels: Labels<'_> = &[("service", &service.name), ("backend", &backend.address)];
                self.traffic("xswitch_backend", labels, &backend.traffic);
                self.standing(labels, backend);
                let help = "Relative share of new connections";
                self.gauge("xswitch_backend_weight", help, labels, u64::from(backend.weight));
                let resolved = backend.next_hop.as_ref().is_some_and(|next_hop| next_hop.resolved);
                let help = "1 while the MAC address of the backend's next hop is known";
                self.gauge("xswitch_backend_next_hop_resolved", help, labels, u64::from(resolved));
            }
        }
    }

    fn cookies(&self, labels: Labels<'_>, cookies: CookiesStatus) {
        let CookiesStatus { sent, valid, invalid, workers } = cookies;
        let help = "SYNs that were answered with a SYN cookie";
        self.counter("xswitch_service_syn_cookies_sent_total", help, labels, sent);
        let help = "SYN cookies that came back, each of which opened a connection";
        self.counter("xswitch_service_syn_cookies_valid_total", help, labels, valid);
        let help = "ACKs that brought no SYN cookie back while some were sent";
        self.counter("xswitch_service_syn_cookies_invalid_total", help, labels, invalid);
        let help = "Workers that answer SYNs with cookies because of pressure";
        self.gauge("xswitch_service_syn_cookies_workers", help, labels, workers);
    }

    /// Whether a backend serves, and what speaks against it. What nobody knows is left out: a 0 would be an alarm.
    fn standing(&self, labels: Labels<'_>, backend: &BackendStatus) {
        if let Some(up) = backend.up() {
            let help =
                "1 while nothing speaks against the backend: neither checks, nor its agent, nor an operator";
            self.gauge("xswitch_backend_up", help, labels, u64::from(up));
            let help = "Percent of its weight that count: less while it starts slowly, or its agent says so";
            self.gauge("xswitch_backend_share_percent", help, labels, u64::from(backend.share));
        }
        let help = "1 while new connections go to the backend; 0 also of one that is up, but has weight 0 or share 0, \
                    is a backup that is not needed, or cannot be reached while others can";
        self.gauge("xswitch_backend_takes_new", help, labels, u64::from(backend.takes_new));
        let help = "Connections that are still in use";
        self.gauge("xswitch_backend_connections_open", help, labels, backend.connections_open);
        let help = "Microseconds to answer, smoothed, as schedulers see it; 0 while nothing is known";
        self.gauge("xswitch_backend_response_microseconds", help, labels, u64::from(backend.response_us));
        let FailuresStatus { refused, unanswered, unreachable } = backend.failures;
        for (kind, value) in [("refused", refused), ("unanswered", unanswered), ("unreachable", unreachable)]
        {
            let mut labels = labels.to_vec();
            labels.push(("kind", &kind));
            let help = "Failures to take a connection, as the traffic showed them";
            self.counter("xswitch_backend_failures_total", help, &labels, u64::from(value));
        }
        if let Some(health) = &backend.health {
            let help = "Health checks";
            self.counter("xswitch_backend_checks_total", help, labels, health.checks);
            let help = "Health checks that failed";
            self.counter("xswitch_backend_checks_failed_total", help, labels, health.failed);
        }
    }

    fn traffic(&self, prefix: &str, labels: Labels<'_>, traffic: &Traffic) {
        for (direction, packets, bytes) in
            [("in", traffic.packets_in, traffic.bytes_in), ("out", traffic.packets_out, traffic.bytes_out)]
        {
            let mut labels = labels.to_vec();
            labels.push(("direction", &direction));
            let help = "Packets, by direction: in is from clients, out is to clients";
            self.counter(&format!("{prefix}_packets_total"), help, &labels, packets);
            let help = "Bytes with Ethernet headers, by direction: in is from clients, out is to clients";
            self.counter(&format!("{prefix}_bytes_total"), help, &labels, bytes);
        }
        let help = "Connections created";
        self.counter(&format!("{prefix}_connections_created_total"), help, labels, traffic.connections_new);
        let help = "Connections there are";
        self.gauge(&format!("{prefix}_connections_active"), help, labels, traffic.connections_active);
    }
}
