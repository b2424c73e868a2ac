//! The status as Prometheus text.
//!
//! The counters live with the workers, so there is nothing to record in between: every scrape fills a recorder of its
//! own with the sums of that moment. What is no longer configured is then no longer exported, without any bookkeeping.
//!
//! How many series there are is bounded: services and backends beyond [`MOST_SERVICES`] and [`MOST_BACKENDS`] have none of
//! their own, and are counted.

use std::fmt::{Display, Write};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::dataplane::SteeredStatus;
use super::health::CheckDurations;
use super::status::{
    BackendStatus, CookiesStatus, FailuresStatus, Kind, ServiceStatus, ServingStatus, Status, Totals,
    Traffic, WorkerStatus,
};

/// The text format, version 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Services with series of their own, in the order of the configuration: some 30 each.
pub const MOST_SERVICES: usize = 500;
/// Backends with series of their own, of those services, in their order: some 20 each.
pub const MOST_BACKENDS: usize = 2000;

static METADATA: Metadata<'static> = Metadata::new("xswitch", Level::INFO, None);

/// Renders a status.
pub fn render(status: &Status) -> String {
    let sheet = Sheet(PrometheusBuilder::new().build_recorder());
    sheet.process(status);
    sheet.reloads(status);
    sheet.frames(status);
    sheet.connections(status);
    status.workers.iter().for_each(|worker| sheet.worker(worker));
    sheet.ports(status);
    sheet.services(status);
    sheet.0.handle().render() + &durations(&status.services)
}

/// The histogram: the recorder makes them from single values, and these are counted already.
fn durations(services: &[ServiceStatus]) -> String {
    const NAME: &str = "xswitch_service_check_duration_seconds";
    let mut text = String::new();
    let services = services.iter().take(MOST_SERVICES);
    for (service, durations) in services.filter_map(|one| Some((&one.name, one.check_durations.as_ref()?))) {
        if text.is_empty() {
            text = format!(
                "# HELP {NAME} How long health checks took that succeeded\n# TYPE {NAME} histogram\n"
            );
        }
        let CheckDurations { checks, sum_s, buckets } = durations;
        let bounds = buckets.iter().map(|bucket| (bucket.up_to_s.to_string(), bucket.checks));
        for (bound, checks) in bounds.chain([("+Inf".to_owned(), *checks)]) {
            // Writing to a string cannot fail, and no name of a service needs quoting.
            let _ = writeln!(text, "{NAME}_bucket{{service=\"{service}\",le=\"{bound}\"}} {checks}");
        }
        let _ = writeln!(text, "{NAME}_sum{{service=\"{service}\"}} {sum_s}");
        let _ = writeln!(text, "{NAME}_count{{service=\"{service}\"}} {checks}");
    }
    text
}

fn owned(labels: Labels<'_>) -> Vec<Label> {
    labels.iter().map(|(key, value)| Label::new(*key, value.to_string())).collect()
}

struct Sheet(PrometheusRecorder);

type Labels<'a> = &'a [(&'static str, &'a dyn Display)];

impl Sheet {
    fn counter(&self, name: &str, help: &'static str, labels: Labels<'_>, value: u64) {
        let name = KeyName::from(name.to_owned());
        self.0.describe_counter(name.clone(), None, help.into());
        self.0.register_counter(&Key::from_parts(name, owned(labels)), &METADATA).absolute(value);
    }

    fn gauge(&self, name: &str, help: &'static str, labels: Labels<'_>, value: u64) {
        self.real(name, help, labels, value as f64);
    }

    /// A gauge that may be a fraction.
    fn real(&self, name: &str, help: &'static str, labels: Labels<'_>, value: f64) {
        let name = KeyName::from(name.to_owned());
        self.0.describe_gauge(name.clone(), None, help.into());
        self.0.register_gauge(&Key::from_parts(name, owned(labels)), &METADATA).set(value);
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
            self.real("xswitch_checks_late_max_seconds", help, &[], checks.late_max_ms / 1000.0);
        }
    }

    fn reloads(&self, status: &Status) {
        let Some(reloads) = &status.reloads else { return };
        for (outcome, count) in [("done", reloads.done), ("refused", reloads.refused)] {
            let help = "Reloads of the configuration since the start, dry runs aside, by what became of them";
            self.counter("xswitch_reloads_total", help, &[("outcome", &outcome)], count);
        }
        let help = "0 while the last reload was refused: the configuration file is not what runs";
        self.gauge("xswitch_reload_successful", help, &[], u64::from(!reloads.last_refused));
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
        let help = "Of those, entries of the IPv6 table";
        self.gauge("xswitch_connections_active_ipv6", help, &[], connections.active_ipv6);
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
                "Unconfirmed handshakes and UDP flows that gave way to new ones because the table was full",
                connections.displaced,
            ),
        ] {
            self.counter(&format!("xswitch_connections_{name}_total"), help, &[], value);
        }
    }

    fn worker(&self, worker: &WorkerStatus) {
        let labels: Labels<'_> = &[("worker", &worker.worker)];
        for (name, help, value) in [
            ("turns", "Turns of the worker's loop", worker.turns),
            ("busy_turns", "Turns of the worker's loop that found something to do", worker.busy_turns),
            ("sleeps", "Times the worker went to sleep", worker.sleeps),
            ("connections_created", "Connections that the worker created", worker.connections_new),
        ] {
            self.counter(&format!("xswitch_worker_{name}_total"), help, labels, value);
        }
        let Totals { received, forwarded, replied, to_kernel, dropped_total, .. } = worker.totals;
        for (fate, value) in [
            ("received", received),
            ("forwarded", forwarded),
            ("replied", replied),
            ("to_kernel", to_kernel),
            ("dropped", dropped_total),
        ] {
            let labels: Labels<'_> = &[("worker", &worker.worker), ("fate", &fate)];
            let help = "Frames of the worker: those received, and what became of them";
            self.counter("xswitch_worker_frames_total", help, labels, value);
        }
        self.gauge("xswitch_worker_pool_level", "Frames free for use", labels, worker.pool_level);
        self.gauge("xswitch_worker_pool_size", "Frames in all", labels, worker.pool_size);
        let help = "Number of the snapshot that the worker uses";
        self.gauge("xswitch_worker_snapshot_epoch", help, labels, worker.epoch);
        for port in &worker.ports {
            let labels: Labels<'_> = &[("interface", &port.interface), ("worker", &worker.worker)];
            for (name, value, kind, help) in port.numbers() {
                match kind {
                    Kind::Counter => self.counter(&format!("xswitch_port_{name}_total"), help, labels, value),
                    Kind::Gauge => self.gauge(&format!("xswitch_port_{name}"), help, labels, value),
                }
            }
        }
    }

    fn ports(&self, status: &Status) {
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
        let mut room = MOST_BACKENDS;
        for service in status.services.iter().take(MOST_SERVICES) {
            self.service(service);
            let shown = service.backends.len().min(room);
            room -= shown;
            for backend in &service.backends[..shown] {
                self.backend(&[("service", &service.name), ("backend", &backend.address)], backend);
            }
        }
        let services = status.services.len();
        let backends: usize = status.services.iter().map(|service| service.backends.len()).sum();
        let help = "Services without series of their own, because there are more than 500";
        let left = services.saturating_sub(MOST_SERVICES);
        self.gauge("xswitch_services_unlabelled", help, &[], left as u64);
        let help = "Backends without series of their own, because there are more than 2000 or their service has none";
        self.gauge("xswitch_backends_unlabelled", help, &[], (backends + room - MOST_BACKENDS) as u64);
    }

    fn service(&self, service: &ServiceStatus) {
        let labels: Labels<'_> = &[("service", &service.name)];
        self.traffic("xswitch_service", labels, &service.traffic);
        let help = "Frames of new connections that were dropped";
        self.counter("xswitch_service_refused_total", help, labels, service.refused);
        let help = "Packets of connections that were dropped because of a limit";
        self.counter("xswitch_service_limited_total", help, labels, service.limited);
        let help = "Frames that were forwarded without a connection";
        self.counter("xswitch_service_stateless_total", help, labels, service.stateless);
        self.cookies(labels, service.syn_cookies);
        let ServingStatus { backends, serving, backups, backups_serving, .. } = service.serving;
        for (kind, all, serving) in [("regular", backends, serving), ("backup", backups, backups_serving)] {
            let labels: Labels<'_> = &[("service", &service.name), ("kind", &kind)];
            let help = "Backends, those that leave aside";
            self.gauge("xswitch_service_backends", help, labels, all as u64);
            let help = "Backends that new connections go to";
            self.gauge("xswitch_service_backends_serving", help, labels, serving as u64);
        }
        if !service.state.is_empty() {
            let help = "1 while the service is enabled; 0: drained or disabled";
            self.gauge("xswitch_service_enabled", help, labels, u64::from(service.state == "enabled"));
        }
    }

    fn backend(&self, labels: Labels<'_>, backend: &BackendStatus) {
        self.traffic("xswitch_backend", labels, &backend.traffic);
        self.standing(labels, backend);
        let help = "Relative share of new connections";
        self.gauge("xswitch_backend_weight", help, labels, u64::from(backend.weight));
        let resolved = backend.next_hop.as_ref().is_some_and(|next_hop| next_hop.resolved);
        let help = "1 while the MAC address of the backend's next hop is known";
        self.gauge("xswitch_backend_next_hop_resolved", help, labels, u64::from(resolved));
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
            let is_drained = matches!(backend.state.as_str(), "drain" | "drained" | "disabled" | "leaving");
            let help = "1 while somebody took the backend out: an operator, its agent, the configuration";
            self.gauge("xswitch_backend_drained", help, labels, u64::from(is_drained));
            let help =
                "Part of its weight that counts: less than 1 while it starts slowly, or its agent says so";
            self.real("xswitch_backend_share_ratio", help, labels, f64::from(backend.share) / 100.0);
        }
        let help = "1 while new connections go to the backend; 0 also of one that is up, but has weight 0 or share 0, \
                    is a backup that is not needed, or cannot be reached while others can";
        self.gauge("xswitch_backend_takes_new", help, labels, u64::from(backend.takes_new));
        let help = "Connections that are still in use";
        self.gauge("xswitch_backend_connections_open", help, labels, backend.connections_open);
        let help = "Seconds to answer, smoothed, as schedulers see it; 0 while nothing is known";
        self.real("xswitch_backend_response_seconds", help, labels, f64::from(backend.response_us) / 1e6);
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
