//! What the switch serves during the soak, and how that changes with every reload.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::common::lab::setup::{Family, V4, V6};
use crate::common::lab::{Lab, WEB_PORT};
use crate::common::services::{Service, at, at_of};
use crate::common::switch::Configuration;

/// Ports of services that are the same at their backends.
pub const LIMITED: u16 = 31_050;
pub const FLAPPING: u16 = 31_060;
pub const LONE: u16 = 31_070;
/// Where the backends of the flapping service are checked.
pub const CHECKED: u16 = 31_061;
/// New connections per second that each client of the limited service may make.
pub const PER_CLIENT: u32 = 200;
/// Few enough for a flood to fill them within two seconds.
const ENTRIES: u32 = 16_384;
/// Services that come and go have ports from here on.
const COMING: u32 = 32_000;
/// Prefixes of nobody, one of which is denied at a time.
const DENIED: u32 = 8;

/// Short times, so that the tables show at the end of a phase what the clients do, and not what they did.
const REST: &str = "\
icmp_budget = 3000
fragment_budget = 5000
status_listen = \"127.0.0.1:9501\"

[timeouts]
tcp_syn_s = 10
tcp_established_s = 60
tcp_half_closed_s = 10
tcp_closed_s = 5
tcp_reset_s = 5
udp_s = 10
";

/// The file of reload `number`; 0 is what the soak begins with, and what every phase ends with.
pub fn configuration(lab: &Lab, number: u32) -> String {
    let mut switch_lines = REST.to_owned();
    write!(
        switch_lines,
        "\n[acl]\ndefault = \"allow\"\ndeny = [\"198.19.{}.0/24\", \"2001:db8:bad::/48\"]\n",
        200 + number % DENIED
    )
    .expect("a String takes every write");
    let switch =
        Configuration { max_connections: ENTRIES, switch_lines, ..Configuration::of(lab) }.switch_table(lab);
    let mut all = coming(lab, number);
    let steady = steady(lab, number);
    let place = all.len().min(number as usize % 3);
    all.splice(place..place, steady);
    all.into_iter().fold(switch, |mut text, service| {
        write!(text, "{service}").expect("a String takes every write");
        text
    })
}

/// Those that clients ask, whatever else there is.
fn steady(lab: &Lab, number: u32) -> Vec<Service> {
    let cookies = "scheduler = \"wrr\"\nsyn_cookies = \"auto\"\nhalf_open = 1000";
    let check = "[service.health]\ncheck = \"tcp\"\ninterval_ms = 1000\nrise = 1";
    let web = |service: Service, family| spread(lab, service.lines(cookies).tables(check), family, WEB_PORT);
    let limits = format!("[service.limits]\nclient_new_connections_per_s = {PER_CLIENT}");
    let http = format!(
        "[service.health]\ncheck = \"http\"\nport = {CHECKED}\ninterval_ms = 500\nfast_interval_ms = 100\nfall = 2\nrise = 2"
    );
    let mut all = vec![
        web(Service::new(lab, "web", 80), Family::V4),
        web(Service::ipv6(lab, "web-ipv6", 80), Family::V6),
        names(lab, "names", Family::V4),
        names(lab, "names-ipv6", Family::V6),
        spread(lab, Service::new(lab, "limited", LIMITED).tables(&limits), Family::V4, LIMITED),
        spread(lab, Service::new(lab, "flapping", FLAPPING).tables(&http), Family::V4, FLAPPING),
        Service::new(lab, "lone", LONE).tables(check).with(at(lab, 1, LONE)),
    ];
    for (service, more) in (0..).zip(&mut all) {
        for (backend, place) in more.backends.iter_mut().zip(0..) {
            backend.weight = 1 + (number + service + place) % 3;
        }
    }
    all
}

fn names(lab: &Lab, name: &str, family: Family) -> Service {
    let vip = if family == Family::V4 { V4.names() } else { V6.names() };
    let service = Service { vip, protocol: "udp", ..Service::new(lab, name, 0) };
    spread(lab, service, family, lab.setup.backend_port(vip.port()))
}

fn spread(lab: &Lab, service: Service, family: Family, port: u16) -> Service {
    (1..=3).fold(service, |service, number| service.with(at_of(lab, family, number, port)))
}

/// Those that come with one reload and go with the next: nobody asks them, and nobody is there.
fn coming(lab: &Lab, number: u32) -> Vec<Service> {
    let one = |place: u32| {
        let port = (COMING + (3 * number + place) % 2000) as u16;
        let check =
            "[service.affinity]\ntimeout_s = 1\n[service.health]\ncheck = \"tcp\"\ninterval_ms = 1000";
        let service = Service::new(lab, &format!("coming-{port}"), port).tables(check);
        (1..=3).fold(service, |service, host| service.with(at(lab, host, port)))
    };
    (0..number % 4).map(one).collect()
}

/// Whom clients ask.
pub fn vip(lab: &Lab, port: u16) -> SocketAddr {
    Service::new(lab, "", port).vip
}
