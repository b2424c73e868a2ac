//! Second opinions about the forwarding modes: what left, as tshark and scapy read it. Both verify every checksum they
//! know, and must see the same packets inside packets as our own reader does.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::frames::flow::frame;
use crate::frames::modes::{Row, V4, V6, World, deliver};
use crate::frames::strict::{self, GUE_PORT, Layer};
use crate::frames::{SYN, TCP, UDP};
use crate::modes;
use crate::tshark;

/// Every frame that left, with what it is, and the packets in it.
fn left() -> Vec<(String, Vec<u8>, Vec<Layer>)> {
    let read = |(says, frame): (String, Vec<u8>)| {
        let layers = strict::layers(&frame);
        (says, frame, layers)
    };
    modes::left().into_iter().map(read).collect()
}

/// Offset and whether more follows, of an IPv4 packet that is a piece of another.
fn piece(layer: &Layer) -> Option<u16> {
    let field = u16::from_be_bytes([layer.packet[6], layer.packet[7]]) & 0x3FFF;
    (layer.source.is_ipv4() && field != 0).then_some(field & 0x1FFF)
}

fn is_piece(layer: &Layer) -> bool {
    piece(layer).is_some()
}

/// The source port, where tshark sees one, and what it says of the checksum: right, absent, or, of the first of several
/// pieces, not verified.
fn transport(layer: &Layer, protocol: u8) -> Option<(String, &'static str)> {
    let port = match piece(layer) {
        Some(0) => u16::from_be_bytes([layer.packet[20], layer.packet[21]]),
        Some(_) => return None,
        None => layer.source.port(),
    };
    let status = match piece(layer) {
        Some(_) => "2",
        None if layer.unchecked => "3",
        None => "1",
    };
    (layer.protocol == protocol).then(|| (port.to_string(), status))
}

/// The first opinion is worth something only if it notices what is wrong.
#[test]
fn our_own_reader_notices_every_bit_that_changed() {
    let row = |mode, protocol, family| Row::of(mode, protocol, family, family);
    for (row, covered) in
        [(row("ipip", TCP, V4), 14..), (row("nat", UDP, V6), 14 + 8..), (row("gue", TCP, V6), 14 + 8..)]
    {
        let (world, request) = (World::default(), row.request(SYN).payload(b"data"));
        let frame = deliver(&world, &mut world.lab(), row, &request);
        let unnoticed = (covered.start * 8..frame.len() * 8).filter(|bit| {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            std::panic::catch_unwind(|| strict::layers(&changed)).is_ok()
        });
        // No checksum covers the class, the label and the hop limit of an IPv6 header; that of what is inside is at 14 + 52.
        let inside = 14 + 52;
        let uncovered = [inside * 8 + 4..inside * 8 + 32, (inside + 7) * 8..(inside + 8) * 8];
        let is_uncovered = |bit: &usize| uncovered.iter().any(|bits| bits.contains(bit));
        let unnoticed: Vec<_> = unnoticed.filter(|bit| row.mode != "gue" || !is_uncovered(bit)).collect();
        assert_eq!(unnoticed, [0usize; 0], "{}: bits", row.says());
    }
}

#[test]
fn tshark_reads_the_same_packets_and_finds_every_checksum_right() {
    // tshark knows no GUE: what is in there is shown to it as a frame of its own.
    let mut shown = Vec::new();
    for (says, bytes, layers) in left() {
        if layers[0].protocol == UDP && layers[0].destination.port() == GUE_PORT {
            let inner = &layers[1];
            shown.push((
                format!("{says}, inside"),
                frame([2; 6], [2; 6], &[], &inner.packet),
                vec![inner.clone()],
            ));
            shown.push((says, bytes, vec![layers[0].clone()]));
        } else {
            shown.push((says, bytes, layers));
        }
    }
    const FIELDS: [&str; 14] = [
        "ieee8021ad.id",
        "vlan.id",
        "ip.src",
        "ip.dst",
        "ip.ttl",
        "ip.checksum.status",
        "ipv6.src",
        "ipv6.dst",
        "ipv6.hlim",
        "tcp.srcport",
        "tcp.checksum.status",
        "udp.srcport",
        "udp.checksum.status",
        "_ws.malformed",
    ];
    let frames: Vec<_> = shown.iter().map(|(_, bytes, _)| bytes.as_slice()).collect();
    let read = tshark::read(&frames, &FIELDS, &["ip.defragment:FALSE"]);
    assert_eq!(read.len(), shown.len(), "tshark read another number of frames");
    for ((says, bytes, layers), line) in shown.iter().zip(&read) {
        assert_eq!(line.split('\t').collect::<Vec<_>>(), fields(bytes, layers), "{says}");
    }
}

/// What tshark must say of a frame: each field of all packets in it, the outermost first.
fn fields(bytes: &[u8], layers: &[Layer]) -> Vec<String> {
    let list =
        |of: &dyn Fn(&Layer) -> Option<String>| layers.iter().filter_map(of).collect::<Vec<_>>().join(",");
    let v4 = |layer: &Layer| layer.source.is_ipv4();
    let mut vlans = strict::link(bytes).0;
    let inner = vlans.pop();
    let vlan = |tag: Option<u16>| tag.map_or_else(String::new, |tag| (tag & 0xFFF).to_string());
    vec![
        vlan(vlans.pop()),
        vlan(inner),
        list(&|layer| v4(layer).then(|| layer.source.ip().to_string())),
        list(&|layer| v4(layer).then(|| layer.destination.ip().to_string())),
        list(&|layer| v4(layer).then(|| layer.ttl.to_string())),
        list(&|layer| v4(layer).then(|| "1".to_owned())),
        list(&|layer| (!v4(layer)).then(|| layer.source.ip().to_string())),
        list(&|layer| (!v4(layer)).then(|| layer.destination.ip().to_string())),
        list(&|layer| (!v4(layer)).then(|| layer.ttl.to_string())),
        list(&|layer| Some(transport(layer, TCP)?.0)),
        list(&|layer| Some(transport(layer, TCP)?.1.to_owned())),
        list(&|layer| Some(transport(layer, UDP)?.0)),
        list(&|layer| Some(transport(layer, UDP)?.1.to_owned())),
        String::new(),
    ]
}

/// For the python that Debian's package is for. Reads one frame per line, in hexadecimal. Builds it anew from what it read, checksums and lengths computed afresh: the
/// result must be the same frame. Prints the packets in it.
const SCAPY: &str = r#"
import sys
from scapy.all import BitField, ByteField, Ether, IP, IPv6, Packet, ShortField, UDP, bind_layers

class GUE(Packet):
    name = "GUE"
    fields_desc = [BitField("variant", 0, 2), BitField("control", 0, 1), BitField("hlen", 0, 5),
                   ByteField("proto", 4), ShortField("flags", 0)]

bind_layers(UDP, GUE, dport=6080)
bind_layers(GUE, IP, proto=4)
bind_layers(GUE, IPv6, proto=41)

for line in sys.stdin:
    before = bytes.fromhex(line.strip())
    packet, seen = Ether(before), []
    layer = packet
    while layer:
        if isinstance(layer, (IP, IPv6)):
            ports = layer.payload
            seen.append(f"{layer.src} {layer.dst}")
            if isinstance(layer, IP):
                del layer.len
        for field in ("chksum", "plen"):
            if field in layer.fields and not (isinstance(layer, UDP) and layer.chksum == 0):
                delattr(layer, field)
        if isinstance(layer, UDP):
            del layer.len
        layer = layer.payload
    after = bytes(packet)
    print("same" if before == after else after.hex(), *seen)
"#;

#[test]
fn scapy_builds_the_same_frames_from_what_it_reads() {
    let left: Vec<_> = left().into_iter().filter(|(_, _, layers)| !layers.iter().any(is_piece)).collect();
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", SCAPY])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed: apt-get install python3-scapy");
    let mut input = python.stdin.take().unwrap();
    let lines: String = left.iter().map(|(_, frame, _)| hex(frame) + "\n").collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().expect("scapy is needed: apt-get install python3-scapy");
    assert!(output.status.success(), "scapy is needed: apt-get install python3-scapy");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), left.len(), "scapy read another number of frames");
    for ((says, frame, layers), line) in left.iter().zip(said.lines()) {
        let ends = layers.iter().map(|layer| format!("{} {}", layer.source.ip(), layer.destination.ip()));
        let expected = ["same".to_owned()].into_iter().chain(ends).collect::<Vec<_>>().join(" ");
        assert_eq!(line, expected, "{says}: {}", hex(frame));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
