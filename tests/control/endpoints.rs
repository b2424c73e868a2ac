//! The control socket and the metrics endpoint, over a data plane that only counts.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use xswitch::control::api::{self, ApiError, ControlSocket, LastView, Source};
use xswitch::control::capture::Captures;
use xswitch::control::client::{self, ClientError};
use xswitch::control::compile::compile_static;
use xswitch::control::connections::Walker;
use xswitch::control::dataplane::DataPlane;
use xswitch::control::rates::Sampler;
use xswitch::control::status::{Limits, Status};
use xswitch::control::{metrics, serve};
use xswitch::tables::{BackendId, DropReason, InterfaceId, ServiceId};

use super::fake::{FakeDataPlane, ip, static_config};

pub struct Lab {
    pub socket: PathBuf,
    pub dataplane: Arc<FakeDataPlane>,
    pub source: Source,
    _folder: tempfile::TempDir,
    _watch: watch::Sender<Arc<xswitch::tables::Snapshot>>,
    pub runtime: tokio::runtime::Runtime,
}

impl Lab {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("xswitch.sock");
        let snapshot = Arc::new(compile_static(&static_config(&socket)).unwrap().0);
        let dataplane = FakeDataPlane::new(&snapshot);
        let (watch, receiver) = watch::channel(snapshot);
        let source = Source {
            dataplane: Arc::clone(&dataplane) as Arc<dyn DataPlane>,
            requests: None,
            last_view: LastView::default(),
            walker: Walker::default(),
            captures: Captures::default(),
            sampler: Sampler::default(),
            snapshot: receiver,
            started: Instant::now(),
            limits: Limits { v4: 4096, v6: 1024 },
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { socket, dataplane, source, _folder: folder, _watch: watch, runtime }
    }

    fn bind(&self) -> Result<ControlSocket, ApiError> {
        self.runtime.block_on(ControlSocket::bind(&self.socket))
    }

    /// Serves the control socket.
    pub fn serve(&self) {
        let mut socket = self.bind().unwrap();
        let listener = socket.take().unwrap();
        self.runtime.spawn(async move {
            let _kept = socket;
            std::future::pending::<()>().await
        });
        self.runtime.spawn(serve::serve(listener, api::control_routes(self.source.clone())));
    }

    /// Counts something at both workers.
    pub fn count(&self) {
        for (number, worker) in self.dataplane.workers().iter().enumerate() {
            let (counters, number) = (&worker.counters, number as u64);
            counters.received.add(100 + number);
            counters.forwarded.add(90);
            counters.replied.add(2);
            counters.created.add(5);
            counters.held.set(5);
            counters.icmp_errors.add(number);
            counters.icmp_limited.add(3);
            counters.dropped(DropReason::NoConnection).add(8 + number);
            counters.connections_new.add(10);
            counters.connections_closed.add(4);
            counters.connections_active.add(6);
            counters.connections_active_ipv6.add(2);
            let backend = counters.backend(BackendId(0)).unwrap();
            backend.packets_in.add(50);
            backend.bytes_out.add(7000);
            backend.connections_new.add(10);
            backend.connections_closed.add(4);
            let service = counters.service(ServiceId(0)).unwrap();
            service.refused.add(3);
            service.cookies_sent.add(7);
            service.cookies_valid.add(2);
            service.cookies_invalid.add(1);
            service.cookies_on.set(number);
            counters.port(InterfaceId(0)).unwrap().rx_frames.add(11);
        }
    }
}

#[test]
fn the_status_sums_over_workers_and_names_every_drop_reason() {
    let lab = Lab::new();
    lab.serve();
    lab.count();
    let status: Status = client::get(&lab.socket, "/v1/status").unwrap();
    let totals = &status.totals;
    assert_eq!((totals.received, totals.forwarded, totals.replied, totals.dropped_total), (201, 180, 4, 17));
    assert_eq!((totals.created, totals.held, totals.unexplained), (10, 10, 0));
    assert_eq!((totals.icmp_errors, totals.icmp_limited), (1, 6));
    let rule = &status.snat[0];
    assert_eq!((rule.name.as_str(), rule.ports.as_str()), ("home", "1024-32767"));
    assert_eq!(
        (rule.inside.as_slice(), &rule.addresses),
        (&["10.0.0.0/24".to_owned()][..], &vec![ip("198.18.0.3")])
    );
    assert_eq!(rule.filtering, "address-dependent");
    assert_eq!(status.services[1].forwarding, "gue");
    assert_eq!(status.dropped.len(), DropReason::COUNT);
    assert_eq!((status.dropped["no_connection"], status.dropped["table_full"]), (17, 0));
    let connections = &status.connections;
    assert_eq!((connections.active, connections.max, connections.max_ipv6), (12, 4096, 1024));
    let steered: Vec<_> =
        status.steered.iter().map(|steered| (steered.interface.as_str(), steered.to_socket)).collect();
    assert_eq!(steered, [("eth0", 100), ("eth1", 101)]);
    let service = &status.services[0];
    assert_eq!(
        (service.name.as_str(), service.forwarding.as_str(), service.scheduler.as_str()),
        ("web", "full-nat", "wrr")
    );
    assert_eq!(
        (service.traffic.packets_in, service.traffic.connections_active, service.refused),
        (100, 12, 6)
    );
    let backend = &service.backends[0];
    assert_eq!((backend.traffic.bytes_out, backend.weight), (14_000, 3));
    let next_hop = backend.next_hop.as_ref().unwrap();
    assert_eq!((next_hop.interface.as_str(), next_hop.mac.as_deref()), ("eth1", Some("02:00:00:00:01:0b")));
    let unresolved = service.backends[1].next_hop.as_ref().unwrap();
    assert_eq!((unresolved.resolved, &unresolved.mac), (false, &None));
    assert_eq!(status.workers[1].ports[0].rx_frames, 11);
    assert_eq!((status.workers[1].ports[0].queue, status.workers[0].ports[0].queue), (Some(7), None));
}

#[test]
fn the_json_has_the_documented_shape() {
    let lab = Lab::new();
    lab.serve();
    let status: serde_json::Value = client::get(&lab.socket, "/v1/status").unwrap();
    for pointer in [
        "/version",
        "/pid",
        "/uptime_s",
        "/resident_bytes",
        "/epoch",
        "/totals/received",
        "/totals/created",
        "/totals/held",
        "/totals/icmp_errors",
        "/totals/icmp_limited",
        "/workers/0/held",
        "/snat/0/mapping",
        "/connections/active",
        "/connections/max",
        "/connections/max_ipv6",
        "/steered/0/no_socket",
        "/dropped/not_steered",
        "/workers/0/core",
        "/workers/0/received",
        "/workers/0/unexplained",
        "/workers/0/connections_active",
        "/workers/0/ports/0/rx_ring_full",
        "/ports/0/xdp_mode",
        "/services/0/packets_in",
        "/services/0/bytes_out",
        "/services/0/connections_new",
        "/services/0/refused",
        "/services/0/syn_cookies/sent",
        "/services/0/syn_cookies/workers",
        "/services/0/state",
        "/services/0/serving/backups_able",
        "/services/0/backends/0/takes_new",
        "/view_age_s",
        "/services/0/backends/0/connections_active",
        "/services/0/backends/0/next_hop/mac",
    ] {
        assert!(status.pointer(pointer).is_some(), "{pointer} is missing in {status:#}");
    }
}

#[test]
fn the_summary_shows_what_happened_and_what_it_means() {
    let lab = Lab::new();
    lab.count();
    let text = xswitch::cli::status::summary(&lab.runtime.block_on(lab.source.status()));
    for part in [
        "web",
        "198.18.0.100:80",
        "[2001:db8::100]:80",
        "eth1 198.18.1.11 02:00:00:00:01:0b",
        "not resolved",
        "no_connection: A TCP",
        "6 refused, 14 SYN cookies, under pressure",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("table_full"), "only what happened:\n{text}");
    println!("{text}");
}

#[test]
fn the_metrics_are_prometheus_text_and_agree_with_the_status() {
    let lab = Lab::new();
    lab.count();
    let text = metrics::render(&lab.runtime.block_on(lab.source.status()));
    println!("{text}");
    let samples = parse(&text);
    for (sample, value) in [
        ("xswitch_frames_received_total", 201.0),
        ("xswitch_frames_created_total", 10.0),
        ("xswitch_frames_held", 10.0),
        ("xswitch_icmp_errors_total", 1.0),
        ("xswitch_icmp_limited_total", 6.0),
        ("xswitch_service_syn_cookies_sent_total{service=\"web\"}", 14.0),
        ("xswitch_service_syn_cookies_valid_total{service=\"web\"}", 4.0),
        ("xswitch_service_syn_cookies_invalid_total{service=\"web\"}", 2.0),
        ("xswitch_service_syn_cookies_workers{service=\"web\"}", 1.0),
        ("xswitch_backend_takes_new{service=\"web\",backend=\"198.18.1.12:8080\"}", 1.0),
        ("xswitch_backend_weight{service=\"web6\",backend=\"[2001:db8:1::11]:80\"}", 1.0),
        ("xswitch_frames_dropped_total{reason=\"no_connection\"}", 17.0),
        ("xswitch_frames_dropped_total{reason=\"table_full\"}", 0.0),
        ("xswitch_connections_active", 12.0),
        ("xswitch_connections_active_ipv6", 4.0),
        ("xswitch_connections_max", 4096.0),
        ("xswitch_connections_max_ipv6", 1024.0),
        ("xswitch_xdp_frames_total{interface=\"eth1\",way=\"socket\"}", 101.0),
        ("xswitch_xdp_frames_total{interface=\"eth0\",way=\"no_socket\"}", 0.0),
        ("xswitch_connections_created_total", 20.0),
        ("xswitch_service_packets_total{service=\"web\",direction=\"in\"}", 100.0),
        (
            "xswitch_backend_bytes_total{service=\"web\",backend=\"198.18.1.11:8080\",direction=\"out\"}",
            14_000.0,
        ),
        ("xswitch_port_rx_frames_total{interface=\"eth0\",worker=\"1\"}", 11.0),
        ("xswitch_port_up{interface=\"eth0\",queue=\"7\"}", 1.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample} in\n{text}");
    }
    let resident = samples["xswitch_resident_memory_bytes"];
    assert!(resident > f64::from(1 << 20), "this very process has {resident} bytes");
}

/// A strict reader of the text format: every sample follows HELP and TYPE of its name, every value is a number, no
/// sample comes twice.
pub fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut help, mut kind) = (BTreeMap::new(), "", ("", ""));
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap();
            assert!(!words.is_empty());
            help = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').unwrap();
            assert_eq!(kind.0, help, "HELP comes with TYPE");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let of_histogram = |suffix| kind.1 == "histogram" && name.strip_suffix(suffix) == Some(kind.0);
            let is_typed = name == kind.0 || ["_bucket", "_sum", "_count"].into_iter().any(of_histogram);
            assert!(is_typed, "{line} has no TYPE");
            assert_eq!(name.ends_with("_total"), kind.1 == "counter", "{line}");
            assert!(
                samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(),
                "{line} comes twice"
            );
        }
    }
    samples
}

#[test]
fn the_metrics_endpoint_serves_over_tcp_and_a_busy_port_names_the_key() {
    let lab = Lab::new();
    let listener = lab.runtime.block_on(api::bind("metrics_listen", "127.0.0.1:0".parse().unwrap())).unwrap();
    let address = listener.local_addr().unwrap();
    lab.runtime.spawn(serve::serve(listener, api::metrics_routes(lab.source.clone())));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("text/plain; version=0.0.4") && answer.contains("xswitch_frames_received_total 0")
    );
    let error = lab.runtime.block_on(api::bind("metrics_listen", address)).unwrap_err();
    assert!(matches!(error, ApiError::InUse(..)) && error.to_string().contains("`metrics_listen`"));
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_its_owner() {
    let lab = Lab::new();
    let socket = lab.bind().unwrap();
    assert_eq!(std::fs::metadata(&lab.socket).unwrap().permissions().mode() & 0o777, 0o660);
    drop(socket);
    assert!(!lab.socket.exists());
}

#[test]
fn a_second_instance_is_told_of_the_first() {
    let lab = Lab::new();
    lab.serve();
    let second = lab.bind().unwrap_err();
    assert!(matches!(second, ApiError::Running(_)), "{second}");
    assert!(client::get::<Status>(&lab.socket, "/v1/status").is_ok(), "and disturbs it not");
}

#[test]
fn a_socket_of_a_dying_process_is_replaced_once_it_is_closed() {
    let lab = Lab::new();
    let dying = std::os::unix::net::UnixListener::bind(&lab.socket).unwrap();
    let end = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(dying);
    });
    let start = Instant::now();
    lab.bind().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    end.join().unwrap();
}

#[test]
fn a_socket_that_never_answers_is_replaced_after_two_seconds() {
    let lab = Lab::new();
    let _silent = std::os::unix::net::UnixListener::bind(&lab.socket).unwrap();
    let start = Instant::now();
    lab.bind().unwrap();
    assert!((2..4).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[test]
fn a_file_left_behind_is_replaced_and_a_file_that_is_no_socket_is_not() {
    let lab = Lab::new();
    drop(std::os::unix::net::UnixListener::bind(&lab.socket).unwrap());
    assert!(lab.socket.exists(), "nobody removed it, as after kill -9");
    drop(lab.bind().unwrap());
    std::fs::write(&lab.socket, "precious").unwrap();
    let error = lab.bind().unwrap_err();
    assert!(matches!(error, ApiError::NotASocket(_)));
    assert_eq!(std::fs::read_to_string(&lab.socket).unwrap(), "precious");
}

#[test]
fn slow_and_broken_clients_disturb_nobody() {
    let lab = Lab::new();
    lab.serve();
    let connect = || UnixStream::connect(&lab.socket).unwrap();
    let silent: Vec<_> = (0..20).map(|_| connect()).collect();
    let mut garbage = connect();
    garbage.write_all(&[0xFF; 4096]).unwrap();
    let mut endless = connect();
    let _ = endless.write_all(&[b'a'; 1 << 16]);
    for _ in 0..20 {
        client::get::<Status>(&lab.socket, "/v1/status").unwrap();
    }
    let mut answer = vec![];
    let start = Instant::now();
    (&silent[0]).read_to_end(&mut answer).unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "a silent client is shown the door");
}

#[test]
fn the_client_says_what_would_be_right() {
    let lab = Lab::new();
    let ask = |path| client::get::<Status>(&lab.socket, path).unwrap_err();
    let missing = ask("/v1/status");
    assert!(
        matches!(missing, ClientError::Missing(_)) && missing.to_string().contains("is xswitch running?")
    );
    std::fs::write(&lab.socket, "no socket").unwrap();
    let no_socket = ask("/v1/status");
    assert!(matches!(no_socket, ClientError::NotASocket(_)), "{no_socket}");
    assert!(no_socket.to_string().starts_with(&format!("{} is no socket", lab.socket.display())));
    std::fs::remove_file(&lab.socket).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&lab.socket).unwrap());
    assert!(matches!(ask("/v1/status"), ClientError::Nobody(_)));
    lab.serve();
    assert!(matches!(ask("/v2/status"), ClientError::Status { status: 404, .. }));
    assert!(client::get::<Status>(&lab.socket, "/v1/status").is_ok());
}
