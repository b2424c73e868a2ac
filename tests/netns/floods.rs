//! Floods of four kinds, while a hundred downloads run and five hundred clients come: nobody is kept out, memory does not
//! grow, every frame is accounted for.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder, UdpHeader};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::common::lab::{CLIENT, Lab, NAMES, WEB, nat};
use crate::common::process::Background;
use crate::common::switch::{BINARY, Configuration, Switch, configuration_text, number, release_binary};
use crate::common::traffic::{self, Connection, Datagrams};
use crate::common::wait::wait_until;
use crate::limits::{NOBODY, flood_at};

/// Frames per second: those of a build that checks itself at every turn, on a machine that is everybody at once.
const RATE: u64 = 20_000;
const DOWNLOADS: usize = 100;
const CLIENTS: usize = 500;
/// Entries that the floods fill within a second.
const ENTRIES: u32 = 16_384;
/// Frames of a capture that is sent again and again.
const CAPTURED: u32 = 20_000;
/// What a process may hold more after a flood than before, in KiB: what reading its status takes.
const GROWTH_KIB: u64 = 2048;

/// Of what it consists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// SYNs from random sources.
    Syns,
    /// Datagrams of new flows.
    Datagrams,
    /// Three kinds in turn: the first of a datagram of which no more comes, a later one without its first, one that cannot be.
    Fragments,
    /// "Port unreachable" about packets that were never sent.
    Errors,
}

#[test]
fn syns() {
    withstands(Kind::Syns, RATE, BINARY);
}

#[test]
fn new_flows_of_udp() {
    withstands(Kind::Datagrams, RATE, BINARY);
}

#[test]
fn fragments() {
    withstands(Kind::Fragments, RATE, BINARY);
}

#[test]
fn icmp_errors() {
    withstands(Kind::Errors, RATE, BINARY);
}

/// With SYN cookies, as the backends could not take so many SYNs.
#[test]
#[ignore = "takes minutes, and measures the release binary"]
fn at_half_of_what_the_switch_can_forward() {
    let binary = release_binary();
    let rate = capability(&binary) / 2;
    for kind in [Kind::Syns, Kind::Datagrams, Kind::Fragments, Kind::Errors] {
        println!("{kind:?}: {rate} frames per second");
        withstands(kind, rate, &binary);
    }
}

/// Frames of one flow that the switch forwards per second when it gets as many as the generator makes.
fn capability(binary: &str) -> u64 {
    const SECONDS: u64 = 5;
    let lab = Lab::new(nat(2));
    let mut switch = Switch::launch_binary(&lab, binary, &configuration_text(&lab, &Configuration::of(&lab)));
    switch.wait_until_attached();
    let forwarded = |switch: &Switch<'_>| number(&switch.status()["totals"], "forwarded");
    let mac = Lab::mac(&lab.switch, "eth0");
    let line = format!(
        "{binary} pktgen send --interface eth0 --to {mac} --source {CLIENT}:5000-5999 --destination {NAMES} --protocol udp \
         --flows 1000 --duration 60"
    );
    let generator = lab.client.spawn(&line, &lab.directory().join("generator"));
    wait_until("frames are forwarded", Duration::from_secs(10), || forwarded(&switch) > 100_000);
    let before = (forwarded(&switch), std::time::Instant::now());
    std::thread::sleep(Duration::from_secs(SECONDS));
    let rate = (forwarded(&switch) - before.0) as f64 / before.1.elapsed().as_secs_f64();
    println!("the switch forwards {rate:.0} frames per second");
    drop(generator);
    switch.finish();
    rate as u64
}

fn withstands(kind: Kind, rate: u64, binary: &str) {
    let lab = Lab::new(nat(2));
    lab.switch.ip(&format!("route add {NOBODY} via {CLIENT}"));
    let is_slow = rate == RATE;
    let configuration = Configuration {
        max_connections: ENTRIES,
        switch_lines: "icmp_budget = 5000\nfragment_budget = 10000\n".to_owned(),
        tcp_service_lines: if is_slow { String::new() } else { "syn_cookies = \"auto\"\n".to_owned() },
        ..Configuration::of(&lab)
    };
    let mut switch = Switch::launch_binary(&lab, binary, &configuration_text(&lab, &configuration));
    switch.wait_until_attached();
    let mut downloads = Downloads::start(&lab);
    wait_until("the downloads run", Duration::from_secs(10), || {
        number(&switch.status()["connections"], "active") >= DOWNLOADS as u64
    });
    let (before, memory) = (harm(kind, &switch), switch.resident_kib());

    let mut flood = flood(kind, &lab, rate, binary);
    wait_until("the flood is felt", Duration::from_secs(20), || harm(kind, &switch) > before + 1000);
    let patience = Duration::from_secs(5);
    let come = || Connection::open(&lab.client, WEB, patience).and_then(|mut connection| connection.ask());
    let (mut served, mut lost) = (0, 0);
    for _ in 0..CLIENTS {
        *if come().is_ok() { &mut served } else { &mut lost } += 1;
        assert!(lost * 100 <= CLIENTS, "{kind:?}: {lost} of {} clients were not served", served + lost);
    }
    if is_slow || kind != Kind::Datagrams {
        // A server that gets every second frame that the switch can forward has other worries.
        let asked = CLIENTS / 10;
        let answered =
            (0..asked).filter(|n| Datagrams::open(&lab.client, NAMES).ask(&n.to_string()).is_some());
        assert!(answered.count() * 100 >= asked * 99, "{kind:?}: datagrams were not answered");
    }
    downloads.assert_complete();
    assert!(flood.is_running(), "the flood lasted as long as all that");

    drop(flood);
    let grown = switch.resident_kib().saturating_sub(memory);
    assert!(grown <= GROWTH_KIB, "{kind:?}: {grown} KiB more than before the flood");
    switch.assert_counters_add_up();
    println!(
        "{kind:?}: {served} of {CLIENTS} clients, {DOWNLOADS} downloads, {grown} KiB, dropped {}",
        switch.status()["dropped"]
    );
    switch.finish();
}

/// How much of the flood has had an effect.
fn harm(kind: Kind, switch: &Switch<'_>) -> u64 {
    let status = switch.status();
    let dropped = |reason| number(&status["dropped"], reason);
    match kind {
        Kind::Syns => {
            let cookies = status["services"].as_array().expect("services").iter();
            let cookies: u64 = cookies.map(|service| number(&service["syn_cookies"], "sent")).sum();
            cookies + number(&status["connections"], "displaced")
        }
        Kind::Datagrams => number(&status["connections"], "displaced"),
        Kind::Fragments => dropped("fragment_budget") + dropped("fragment_table_full"),
        Kind::Errors => dropped("icmp_budget").min(dropped("icmp_forged")),
    }
}

fn flood(kind: Kind, lab: &Lab, rate: u64, binary: &str) -> Background {
    match kind {
        Kind::Syns => flood_at(lab, binary, (WEB, "tcp"), &rate.to_string()),
        Kind::Datagrams => flood_at(lab, binary, (NAMES, "udp"), &rate.to_string()),
        Kind::Fragments => captured(lab, fragment, rate, binary),
        Kind::Errors => captured(lab, error, rate, binary),
    }
}

/// A frame of a number, from one MAC address to another.
pub type Build = fn(u32, [[u8; 6]; 2]) -> Vec<u8>;

/// Frames that `build` makes of a number, again and again.
fn captured(lab: &Lab, build: Build, rate: u64, binary: &str) -> Background {
    let macs = [Lab::mac(&lab.client, "eth0"), Lab::mac(&lab.switch, "eth0")];
    let path = write_frames(lab, "flood", build, &macs);
    let line = format!(
        "{binary} pktgen replay --interface eth0 --in {} --rate {rate} --loop 10000 --json",
        path.display()
    );
    lab.client.spawn(&line, &lab.directory().join("flood.json"))
}

/// A capture of such frames from one MAC address to the other.
pub fn write_frames(lab: &Lab, name: &str, build: Build, [from, to]: &[String; 2]) -> PathBuf {
    let macs = [octets(from), octets(to)];
    let path = lab.directory().join(format!("{name}.pcap"));
    write(&path, (0..CAPTURED).map(|number| build(number, macs)));
    path
}

fn octets(mac: &str) -> [u8; 6] {
    let parts: Vec<_> = mac.split(':').map(|part| u8::from_str_radix(part, 16).unwrap()).collect();
    parts.try_into().unwrap()
}

fn write(path: &Path, frames: impl Iterator<Item = Vec<u8>>) {
    let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
    for frame in frames {
        let packet = PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame);
        writer.write_packet(&packet).unwrap();
    }
}

/// A source that no host has.
fn nobody(number: u32) -> [u8; 4] {
    (u32::from(Ipv4Addr::new(198, 19, 0, 0)) + number * 7919 % 65_536).to_be_bytes()
}

fn ethernet([from, to]: [[u8; 6]; 2], packet: &[u8]) -> Vec<u8> {
    [&to[..], &from, &[0x08, 0x00], packet].concat()
}

/// Three kinds in turn, of datagrams of nobody.
pub fn fragment(number: u32, macs: [[u8; 6]; 2]) -> Vec<u8> {
    let (first, absurd) = (number.is_multiple_of(3), number % 3 == 2);
    let udp = UdpHeader {
        source_port: 1024 + number as u16 % 60_000,
        destination_port: NAMES.port(),
        length: 3000,
        checksum: 0,
    };
    let mut payload = vec![0x5A; if absurd { 21 } else { 64 }];
    if first {
        payload[..8].copy_from_slice(&udp.to_bytes());
    }
    let mut header =
        Ipv4Header::new(payload.len() as u16, 64, IpNumber::UDP, nobody(number), NAMES.ip().octets())
            .unwrap();
    header.identification = number as u16;
    header.more_fragments = true;
    header.fragment_offset = IpFragOffset::try_new(if first { 0 } else { 8 }).unwrap();
    header.header_checksum = header.calc_header_checksum();
    ethernet(macs, &[&header.to_bytes()[..], &payload].concat())
}

/// "Port unreachable" about what was never sent.
pub fn error(number: u32, [from, to]: [[u8; 6]; 2]) -> Vec<u8> {
    let mut quoted = Vec::new();
    PacketBuilder::ipv4(WEB.ip().octets(), nobody(number), 60)
        .udp(WEB.port(), 1024 + number as u16 % 60_000)
        .write(&mut quoted, b"never sent")
        .unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from, to)
        .ipv4(nobody(number), WEB.ip().octets(), 64)
        .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(
            etherparse::icmpv4::DestUnreachableHeader::Port,
        ))
        .write(&mut frame, &quoted)
        .unwrap();
    frame
}

/// Downloads that take some ten seconds each.
struct Downloads {
    process: Background,
    files: Vec<PathBuf>,
    size: u64,
}

impl Downloads {
    fn start(lab: &Lab) -> Self {
        let original = lab.directory().join("original");
        traffic::random_file(&original, 1);
        let files: Vec<_> = (0..DOWNLOADS).map(|n| lab.directory().join(format!("got-{n}"))).collect();
        let wanted: String = files
            .iter()
            .map(|file| format!(" --output {} http://{WEB}/files/original", file.display()))
            .collect();
        let line = format!(
            "curl --silent --show-error --fail --parallel --parallel-immediate --parallel-max {DOWNLOADS} --http1.1 \
             --limit-rate 100k --max-time 60{wanted}"
        );
        let process = lab.client.spawn(&line, &lab.directory().join("downloads.log"));
        let size = std::fs::metadata(&original).unwrap().len();
        Self { process, files, size }
    }

    fn assert_complete(&mut self) {
        let code = self.process.wait_for_end(Duration::from_secs(60));
        assert_eq!(code, 0, "downloads failed: {}", self.process.log());
        let whole = |file: &&PathBuf| std::fs::metadata(file).is_ok_and(|found| found.len() == self.size);
        assert_eq!(self.files.iter().filter(whole).count(), DOWNLOADS);
    }
}
