//! Services that can do without connections: consistent hashing, and backends that answer clients directly.

use xswitch::dataplane::Verdict;
use xswitch::tables::DropReason;

use crate::frames::lab::{Lab, compile};
use crate::frames::network::*;
use crate::frames::pieces::split;
use crate::frames::{ACK, FIN, RST, SYN, tcp, udp};

const WEB: &str = "198.18.0.100:80";
const DNS: &str = "198.18.0.100:53";
const STRAY: Verdict = Verdict::Drop(DropReason::NoConnection);
const FORWARDED: Verdict = Verdict::Forward(ETH1);

fn switch(forwarding: &str, scheduler: &str, more: &str) -> String {
    let backends = [("198.18.1.11:80", 1), ("198.18.1.12:80", 1)];
    let web =
        service("web", WEB, "tcp", forwarding, &backends).replace("\"rr\"", &format!("\"{scheduler}\""));
    let dns = service("dns", DNS, "udp", forwarding, &[("198.18.1.11:53", 1), ("198.18.1.12:53", 1)]);
    let dns = dns.replace("\"rr\"", &format!("\"{scheduler}\""));
    [SWITCH, &web, more, &dns, NETWORK, DEFAULT_ROUTE].concat()
}

fn segment(port: u16, flags: u8) -> Vec<u8> {
    tcp(&format!("198.18.0.7:{port}"), WEB, flags).in_at_eth0_from(CLIENT7).build()
}

/// To whom a frame of direct return goes.
fn backend(lab: &mut Lab, frame: &[u8]) -> Vec<u8> {
    let outcome = lab.send(ETH0, frame);
    assert_eq!(outcome.verdict, FORWARDED);
    outcome.bytes[..6].to_vec()
}

#[test]
fn a_segment_whose_connection_is_unknown_goes_where_its_connection_went() {
    for scheduler in ["maglev", "sh"] {
        let (mut knows, mut not) =
            (Lab::new(&switch("dsr", scheduler, ""), 64), Lab::new(&switch("dsr", scheduler, ""), 64));
        for port in 1000..1040 {
            let chosen = backend(&mut knows, &segment(port, SYN));
            for flags in [ACK, FIN | ACK, RST] {
                assert_eq!(backend(&mut not, &segment(port, flags)), chosen, "{scheduler}, port {port}");
            }
        }
        assert_eq!(not.flows.tables().references(), 0, "nothing was entered");
        assert_eq!(not.counters.connections_new.get(), 0);
        assert_eq!(not.counters.services[0].stateless.get(), 120);
        for flags in [SYN | ACK, FIN] {
            assert_eq!(not.send(ETH0, &segment(1000, flags)).verdict, STRAY, "{scheduler}");
        }
    }
}

#[test]
fn others_need_their_connections() {
    let with_affinity = "[service.affinity]\ntimeout_s = 60\n";
    for (forwarding, scheduler, more) in [
        ("nat", "maglev", ""),
        ("full-nat", "maglev", ""),
        ("dsr", "rr", ""),
        ("dsr", "maglev", with_affinity),
    ] {
        let mut lab = Lab::new(&switch(forwarding, scheduler, more), 64);
        assert_eq!(lab.send(ETH0, &segment(1000, ACK)).verdict, STRAY, "{forwarding} {scheduler} {more}");
    }
    // Whose backend had enough was sent elsewhere, and only its connection knows where.
    let capped = switch("dsr", "maglev", "").replacen("weight = 1", "weight = 1\nmax_connections = 9", 1);
    assert_eq!(Lab::new(&capped, 64).send(ETH0, &segment(1000, ACK)).verdict, STRAY);
}

#[test]
fn a_full_table_turns_nobody_away() {
    let mut lab = Lab::new(&switch("dsr", "maglev", ""), 64);
    let entries = u64::from(lab.flows.tables().v4.capacity());
    let mut port = 1000;
    while lab.counters.connections_active.get() < entries {
        backend(&mut lab, &segment(port, SYN));
        backend(&mut lab, &segment(port, ACK));
        port += 1;
    }
    let mut elsewhere = Lab::new(&switch("dsr", "maglev", ""), 1024);
    for port in 50_000..50_020 {
        let chosen = backend(&mut elsewhere, &segment(port, SYN));
        assert_eq!(backend(&mut lab, &segment(port, SYN)), chosen);
        assert_eq!(backend(&mut lab, &segment(port, ACK)), chosen, "and what follows");
        let question = udp(&format!("198.18.0.7:{port}"), DNS).in_at_eth0_from(CLIENT7).build();
        assert_eq!(backend(&mut lab, &question), backend(&mut elsewhere, &question));
    }
    assert_eq!(lab.counters.connections_active.get(), entries);
    assert_eq!(lab.counters.services[0].refused.get(), 0);
    assert_eq!(
        (lab.counters.services[0].stateless.get(), lab.counters.services[1].stateless.get()),
        (40, 20)
    );
}

#[test]
fn a_datagram_in_pieces_goes_to_one_backend_where_the_table_is_full() {
    let mut lab = Lab::new(&switch("ipip", "maglev", ""), 64);
    let entries = u64::from(lab.flows.tables().v4.capacity());
    let mut port = 1000;
    while lab.counters.connections_active.get() < entries {
        lab.send(ETH0, &segment(port, SYN));
        lab.send(ETH0, &segment(port, ACK));
        port += 1;
    }
    let question = udp("198.18.0.7:50000", DNS).in_at_eth0_from(CLIENT7).payload(&[7; 3000]).build();
    let pieces = split(&question, 77, 1000);
    let outcomes = lab.send_all(ETH0, &pieces);
    assert_eq!(outcomes.len(), pieces.len());
    for outcome in &outcomes {
        assert_eq!((outcome.verdict, &outcome.bytes[..6]), (FORWARDED, &outcomes[0].bytes[..6]));
    }
    assert_eq!(lab.counters.services[1].stateless.get(), pieces.len() as u64);
}

#[test]
fn who_may_not_connect_may_not_do_so_without_a_connection() {
    let denied = "[service.acl]\ndeny = [\"198.18.0.7/32\"]\n";
    let mut lab = Lab::new(&switch("dsr", "maglev", denied), 64);
    assert_eq!(lab.send(ETH0, &segment(1000, ACK)).verdict, Verdict::Drop(DropReason::Denied));
    lab.snapshot = compile(&switch("dsr", "maglev", "[service.limits]\nclient_packets_per_s = 5\n"));
    let verdicts: Vec<_> = (0..8).map(|_| lab.send(ETH0, &segment(1000, ACK)).verdict).collect();
    assert_eq!(verdicts[4..6], [FORWARDED, Verdict::Drop(DropReason::RateLimited)]);
}
