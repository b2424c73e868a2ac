//! A second opinion: everything that left, as tshark reads it, field by field.

use std::process::Command;
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::frames::{Arp, Checksum, Mac, Packet, TCP};
use crate::support::Expected;

const FIELDS: [&str; 17] = [
    "eth.src",
    "eth.dst",
    "ip.src",
    "ip.dst",
    "ip.ttl",
    "ip.checksum.status",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "tcp.checksum.status",
    "udp.srcport",
    "udp.dstport",
    "udp.checksum.status",
    "arp.opcode",
    "arp.src.hw_mac",
    "arp.src.proto_ipv4",
    "arp.dst.proto_ipv4",
];

const BAD: &str = "0";
const GOOD: &str = "1";
const ABSENT: &str = "3";

#[test]
fn everything_that_left_is_right_for_tshark() {
    let cases = [
        crate::nat::cases(),
        crate::full_nat::cases(),
        crate::checksums::cases(),
        crate::arp::cases(),
        crate::tcp::cases(),
        crate::refused::cases(),
    ];
    let left: Vec<_> = cases.iter().flatten().filter_map(|case| Some((case.says, case.play()?))).collect();
    assert!(left.len() > 40, "only {} frames left", left.len());
    let frames: Vec<_> = left.iter().map(|(_, (bytes, _))| bytes.as_slice()).collect();
    let read = read(&frames, &FIELDS, &[]);
    assert_eq!(read.len(), left.len(), "tshark read another number of frames");
    for ((says, (_, expected)), line) in left.iter().zip(read) {
        let expected = match expected {
            Expected::Leaves(_, packet) => packet_fields(packet),
            Expected::Answered(_, arp) => arp_fields(arp),
            Expected::ToKernel | Expected::Dropped(_) => unreachable!("it left"),
        };
        assert_eq!(line.split('\t').collect::<Vec<_>>(), expected, "{says}");
    }
}

/// One line per frame, with these fields between tabs. `preferences` are those of tshark besides the checksums'.
pub fn read(frames: &[&[u8]], fields: &[&str], preferences: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("left.pcap");
    let mut writer = PcapWriter::new(std::fs::File::create(&path).unwrap()).unwrap();
    for (second, frame) in frames.iter().enumerate() {
        let time = Duration::from_secs(second as u64);
        writer.write_packet(&PcapPacket::new(time, frame.len() as u32, frame)).unwrap();
    }
    drop(writer);
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&path).args(["-n", "-T", "fields"]);
    for protocol in ["ip", "tcp", "udp"] {
        command.arg("-o").arg(format!("{protocol}.check_checksum:TRUE"));
    }
    for preference in preferences {
        command.args(["-o", preference]);
    }
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is needed: apt-get install tshark");
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn packet_fields(packet: &Packet) -> Vec<String> {
    let mut fields = vec![
        mac(packet.from),
        mac(packet.to),
        packet.source.ip().to_string(),
        packet.destination.ip().to_string(),
        packet.ttl.to_string(),
        GOOD.to_owned(),
    ];
    let ports = [packet.source.port().to_string(), packet.destination.port().to_string()];
    let status = match packet.checksum {
        Checksum::Right => GOOD,
        Checksum::Absent => ABSENT,
        Checksum::WrongBy(_) | Checksum::LeftToOffload => BAD,
    };
    if packet.protocol == TCP {
        fields.extend(ports);
        fields.extend([format!("0x{:04x}", packet.flags), status.to_owned()]);
        fields.extend(nothing(3));
    } else {
        fields.extend(nothing(4));
        fields.extend(ports);
        fields.push(status.to_owned());
    }
    fields.extend(nothing(4));
    fields
}

fn arp_fields(arp: &Arp) -> Vec<String> {
    let address = |address: [u8; 4]| std::net::Ipv4Addr::from(address).to_string();
    let mut fields = vec![mac(arp.from), mac(arp.to)];
    fields.extend(nothing(11));
    fields.extend([
        arp.operation.to_string(),
        mac(arp.sender.0),
        address(arp.sender.1),
        address(arp.target.1),
    ]);
    fields
}

fn nothing(count: usize) -> Vec<String> {
    vec![String::new(); count]
}

fn mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
