//! `[service.discover]`: what is accepted, what it means, and what is wrong.

use xswitch::config::valid::{Discover, Source};
use xswitch::config::{self, Severity};

use super::mistakes::{Case, holds};
use super::said;

fn service(discover: &str) -> String {
    format!(
        "[switch]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n\
         [service.discover]\n{discover}\n"
    )
}

fn read(discover: &str) -> Discover {
    let config = config::parse(&service(discover), "x.toml").unwrap_or_else(|error| panic!("{error}")).config;
    config.services[0].discover.clone().unwrap()
}

#[test]
fn backends_are_found_by_addresses_by_services_or_in_a_file() {
    let found = |source| Discover { source, weight: 1, min_backends: 1, interval_s: (5, 300) };
    let name = "web.example.net".to_owned();
    assert_eq!(read("dns = \"web.example.net\"\nport = 8080"), found(Source::Dns { name, port: 8080 }));
    let name = "_http._tcp.example.net.".to_owned();
    assert_eq!(read("srv = \"_http._tcp.example.net.\""), found(Source::Srv { name }));
    let path = "/etc/backends".into();
    assert_eq!(read("file = \"/etc/backends\""), found(Source::File { path }));
    let told = read("srv = \"a\"\nweight = 7\nmin_backends = 3\ninterval_s = [1, 60]");
    assert_eq!((told.weight, told.min_backends, told.interval_s), (7, 3, (1, 60)));
    assert_eq!(read("srv = \"a\"\ninterval_s = 10").interval_s, (10, 10));
}

#[test]
fn backends_may_be_listed_besides() {
    let text = service("srv = \"a\"\n[[service.backend]]\naddress = \"198.18.1.11:80\"\nbackup = true");
    assert_eq!(said(&text), []);
}

#[test]
fn wrong_values() {
    let cases: &[Case] = &[
        ("dns = «\"web example\"\nport = 80", "is not a DNS name", "joined by dots"),
        ("dns = «\"\"\nport = 80", "is not a DNS name", "letters"),
        ("dns = «\"198.18.1.1\"\nport = 80", "is an address, not a name", "[[service.backend]]"),
        ("dns = \"a\"\nport = «0", "out of bounds", "from 1 to 65535"),
        ("srv = \"a\"\nport = «80", "`port` does not go with `srv`", "it belongs to dns"),
        ("file = \"/a\"\nport = «80", "`port` does not go with `file`", "remove it"),
        ("file = \"/a\"\ninterval_s = «[5, 300]", "looked at every second", "belongs to dns and srv"),
        ("file = «\"./a\"", "does not begin at \"/\"", "\"/etc/xswitch/a\""),
        ("srv = \"a\"\nfile = «\"/a\"", "discovered by `srv` already", "one of dns, srv and file"),
        ("dns = \"a\"\nport = 80\nsrv = «\"a\"", "discovered by `dns` already", "one of"),
        ("srv = \"a\"\ninterval_s = «[300, 5]", "300 is more than 5", "interval_s = [5, 300]"),
        ("srv = \"a\"\ninterval_s = «[5]", "two numbers of seconds", "[5, 300]"),
        ("srv = \"a\"\ninterval_s = «[0, 5]", "two numbers of seconds", "from 1 to 86400"),
        ("srv = \"a\"\ninterval_s = «\"5s\"", "two numbers of seconds", "[5, 300]"),
        ("srv = \"a\"\nmin_backends = «-1", "out of bounds", "from 0 to 10000"),
        ("srv = \"a\"\nweight = «65536", "out of bounds", "from 0 to 65535"),
        ("srv = \"a\"\n«name = \"a\"", "unknown key `name` in [service.discover]", "belongs in"),
    ];
    holds(service, cases, Severity::Error);
    let frame = |keys: &str| service(keys).replace("[service.discover]", "«[service.discover]");
    let cases: &[Case] = &[
        ("weight = 2", "does not say where", "dns = \"NAME\" with port = PORT"),
        ("dns = \"a\"", "`port` is missing", "port = 8080"),
    ];
    holds(frame, cases, Severity::Error);
}

#[test]
fn who_answers_directly_is_discovered_at_the_vips_port() {
    let frame = |port: &str| {
        service(&format!("dns = \"a\"\n{port}"))
            .replace("[service.discover]", "forwarding = \"ipip\"\n[service.discover]")
    };
    holds(frame, &[("port = «8080", "8080 is not the VIP's", "port = 80")], Severity::Error);
}
