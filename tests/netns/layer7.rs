//! A layer-7 tier behind the switch: the very files of `config/`, real nginx on two nodes, real TLS.
//!
//! The lab is the routed one. b1 and b2 are the tier; b3 holds the four servers that the tier routes to.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::common::lab::{CLIENT, Lab, VIP, nat};
use crate::common::namespace::Namespace;
use crate::common::process::{self, Background, Finished};
use crate::common::switch::{BINARY, socket};
use crate::common::wait::wait_until;

const NAME: &str = "shop.example";
/// The servers behind the tier, and what they call themselves.
const SERVERS: [(&str, &str); 4] =
    [("198.18.1.21", "a1"), ("198.18.1.22", "a2"), ("198.18.1.31", "b1"), ("198.18.1.32", "b2")];
const PATIENCE: Duration = Duration::from_secs(10);

/// The lab with everything in it running.
struct Tier {
    switch: Background,
    _nginx: Vec<Background>,
    lab: Lab,
}

impl Tier {
    fn start(workers: u16) -> Self {
        let lab = Lab::new(nat(workers));
        make_certificate(lab.directory());
        for (address, _) in SERVERS {
            lab.backends[2].host.ip(&format!("address add {address}/24 dev eth0"));
        }
        let servers: String = SERVERS.map(|(address, name)| server(address, name)).concat();
        let nodes = &lab.backends[..2];
        let mut nginx = vec![start_nginx(&lab.backends[2].host, &lab.directory().join("servers"), &servers)];
        nginx.extend(nodes.iter().map(|node| {
            let directory = lab.directory().join(format!("tier-{}", node.name));
            start_nginx(&node.host, &directory, &tier_configuration(&directory))
        }));
        for (node, port) in
            nodes.iter().map(|node| (&node.host, ":443 ")).chain([(&lab.backends[2].host, ":8000 ")])
        {
            wait_until("nginx listens", PATIENCE, || {
                node.run("ss --no-header --listening --tcp --numeric").contains(port)
            });
        }
        let switch = start_switch(&lab);
        Self { switch, _nginx: nginx, lab }
    }

    /// Asks for `path` by `scheme`, over a connection of its own.
    fn ask(&self, scheme: &str, path: &str, more: &str) -> Finished {
        let certificate = self.lab.directory().join("tls/site.pem");
        let line = format!(
            "curl --silent --show-error --max-time 5 --resolve {NAME}:443:{VIP} --resolve {NAME}:80:{VIP} \
             --cacert {} {more} {scheme}://{NAME}{path}",
            certificate.display()
        );
        self.lab.client.run_within(PATIENCE, &line)
    }

    /// What answers `count` requests for `path`.
    fn answers(&self, path: &str, more: &str, count: usize) -> BTreeSet<String> {
        (0..count)
            .map(|_| {
                let finished = self.ask("https", path, more);
                assert_eq!(finished.code, 0, "{path}: {}", finished.stderr);
                finished.stdout.trim().to_owned()
            })
            .collect()
    }

    /// The lines of a node's access log.
    fn log(&self, node: &str) -> Vec<String> {
        let path = self.lab.directory().join(format!("tier-{node}/tier.log"));
        let text = std::fs::read_to_string(path).expect("the tier keeps a log");
        text.lines().map(str::to_owned).collect()
    }

    fn finish(mut self) {
        self.switch.signal(rustix::process::Signal::TERM);
        assert_eq!(self.switch.wait_for_end(PATIENCE), 0, "{}", self.switch.log());
    }
}

#[test]
fn tls_passes_untouched_and_the_tier_routes_by_path_and_sees_the_client() {
    let tier = Tier::start(2);
    let lines = |names: [&str; 2]| names.map(|name| format!("{name} {CLIENT} https")).into();
    assert_eq!(tier.answers("/a", "", 12), lines(["a1", "a2"]));
    assert_eq!(tier.answers("/b", "", 12), lines(["b1", "b2"]));
    assert_eq!(tier.answers("/b", "--header X-Forwarded-For:10.9.9.9", 4), lines(["b1", "b2"]));
    assert_eq!(tier.answers("/tier-health", "", 1), ["ready".to_owned()].into());
    for node in ["b1", "b2"] {
        let log = tier.log(node);
        assert!(log.len() >= 8, "node {node} served {} requests", log.len());
        let client = format!("{CLIENT} ");
        assert!(log.iter().all(|line| line.starts_with(&client)), "{log:#?}");
    }
    let redirected =
        tier.ask("http", "/a?x=1", "--output /dev/null --write-out %{http_code},%{redirect_url}");
    assert_eq!(redirected.stdout, format!("308,https://{NAME}/a?x=1"));
    tier.finish();
}

#[test]
fn the_certificate_that_clients_see_is_the_tiers_own() {
    let tier = Tier::start(1);
    let ours = tier.lab.directory().join("tls/site.pem");
    // curl has verified it against `ours` by then; this is what came over the wire.
    let seen = tier.ask("https", "/tier-health", "--output /dev/null --write-out %{certs}");
    let theirs = tier.lab.directory().join("seen.pem");
    std::fs::write(&theirs, seen.stdout).expect("a file can be written");
    let [ours, theirs] = [ours, theirs].map(|file| fingerprint(&file));
    assert_eq!(ours, theirs);
    tier.finish();
}

#[test]
fn a_cookie_brings_a_client_back_to_its_server_by_whichever_node() {
    let tier = Tier::start(1);
    for (cookie, name) in [("first", "a1"), ("second", "a2")] {
        let wanted = [format!("{name} {CLIENT} https")].into();
        assert_eq!(tier.answers("/a", &format!("--cookie shop={cookie}"), 8), wanted);
    }
    for node in ["b1", "b2"] {
        for upstream in ["198.18.1.21:8000", "198.18.1.22:8000"] {
            let log = tier.log(node);
            assert!(
                log.iter().any(|line| line.ends_with(upstream)),
                "{node} never asked {upstream}: {log:#?}"
            );
        }
    }
    // A client with a cookie jar, from its first visit on; and one whose cookie is nonsense.
    let jar = tier.lab.directory().join("jar");
    let with_jar = format!("--cookie {0} --cookie-jar {0}", jar.display());
    assert_eq!(tier.answers("/a", &with_jar, 8).len(), 1);
    let headers = tier.ask("https", "/a", "--cookie shop=nonsense --include --output -");
    assert!(headers.stdout.to_lowercase().contains("set-cookie: shop="), "{}", headers.stdout);
    let headers = tier.ask("https", "/a", "--cookie shop=first --include --output -");
    assert!(!headers.stdout.to_lowercase().contains("set-cookie"), "{}", headers.stdout);
    tier.finish();
}

#[test]
fn a_node_that_is_drained_gets_no_new_connections_and_comes_back() {
    let tier = Tier::start(1);
    let order = |verb: &str| {
        for (service, port) in [("shop-https", 443), ("shop-http", 80)] {
            let socket = socket(&tier.lab);
            let line =
                format!("{BINARY} backend {verb} --socket {} {service} 198.18.1.11:{port}", socket.display());
            tier.lab.switch.run(&line);
        }
    };
    tier.answers("/a", "", 8);
    let before = tier.log("b1").len();
    assert!(before > 0, "the node serves");
    order("drain");
    tier.answers("/a", "", 8);
    assert_eq!(tier.log("b1").len(), before, "it is drained");
    order("enable");
    wait_until("the node serves again", PATIENCE, || {
        tier.answers("/a", "", 2);
        tier.log("b1").len() > before
    });
    tier.finish();
}

/// The example of `config/`, but for where the switch is asked for its status.
fn start_switch(lab: &Lab) -> Background {
    let lines = format!("\n[switch]\ncontrol_socket = \"{}\"\n", socket(lab).display());
    let text = read_example("layer7-tier.toml").replacen("\n[switch]\n", &lines, 1);
    let path = lab.directory().join("layer7-tier.toml");
    std::fs::write(&path, text).expect("a file can be written");
    let line = format!("{BINARY} run --config {}", path.display());
    let mut switch = lab.switch.spawn(&line, &lab.directory().join("xswitch.log"));
    let ask = format!("{BINARY} status --json --socket {}", socket(lab).display());
    wait_until("every queue of the switch is attached", PATIENCE, || {
        assert!(switch.is_running(), "xswitch ended at start: {}", switch.log());
        let status: Value =
            serde_json::from_str(&lab.switch.run_within(PATIENCE, &ask).stdout).unwrap_or_default();
        let ports = status["ports"].as_array().cloned().unwrap_or_default();
        ports.len() == 2 * usize::from(lab.setup.queues) && ports.iter().all(|port| port["xdp_mode"] != "")
    });
    switch
}

fn read_example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(path).expect("the example is there")
}

/// The example of `config/`, with its log and its certificate in the lab's directory.
fn tier_configuration(directory: &Path) -> String {
    let text = read_example("layer7-tier.nginx.conf");
    let tls = format!(" {}/tls/", directory.parent().expect("the lab's directory").display());
    text.replace("/var/log/nginx", &directory.display().to_string()).replace(" tls/", &tls)
}

/// A server behind the tier: says its name, and what it was told of the client.
fn server(address: &str, name: &str) -> String {
    format!(
        "server {{ listen {address}:8000; location / {{ \
         return 200 \"{name} $http_x_forwarded_for $http_x_forwarded_proto\\n\"; }} }}\n"
    )
}

/// One nginx process with `http` as its configuration of HTTP.
fn start_nginx(host: &Namespace, directory: &Path, http: &str) -> Background {
    std::fs::create_dir_all(directory).expect("a directory can be made");
    let place = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {place}/nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\naccess_log off;\n{temporary}{http}}}\n"
    );
    let configuration = directory.join("nginx.conf");
    std::fs::write(&configuration, text).expect("a file can be written");
    let line = format!("nginx -e {place}/error.log -p {place} -c {}", configuration.display());
    host.spawn(&line, &directory.join("nginx.log"))
}

fn make_certificate(directory: &Path) {
    let tls = directory.join("tls");
    std::fs::create_dir_all(&tls).expect("a directory can be made");
    let place = tls.display();
    process::run(&format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={NAME} \
         -addext subjectAltName=DNS:{NAME} -keyout {place}/site.key -out {place}/site.pem"
    ));
}

fn fingerprint(certificate: &Path) -> String {
    let line = format!("openssl x509 -noout -fingerprint -sha256 -in {}", certificate.display());
    let printed = process::run(&line);
    assert!(printed.contains("ingerprint="), "{printed}");
    printed
}
