//! Socket filters in classic BPF (`linux/filter.h`): what a packet socket does not want, the kernel does not even copy.

use std::ops::RangeInclusive;

use socket2::SockFilter;

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B;
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_H;
const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ;
const HAS_ANY: u32 = libc::BPF_JMP | libc::BPF_JSET;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE;
const ABOVE: u32 = libc::BPF_JMP | libc::BPF_JGT;
const GO: u32 = libc::BPF_JMP | libc::BPF_JA;
const RETURN: u32 = libc::BPF_RET;
/// From the start of the packet, or from where the IP header ends.
const PACKET: u32 = libc::BPF_ABS;
const PAYLOAD: u32 = libc::BPF_IND;

const TCP: u32 = 6;
const UDP: u32 = 17;
/// SYN or RST: the first answer to a SYN is one of them, and most segments of a busy host are neither.
const SYN_OR_RST: u32 = 0x02 | 0x04;
/// All of a packet.
const WHOLE: u32 = 0xFFFF;

/// Places in the part that both families share: see [`Filter::new`].
const SEGMENT: usize = 3;
const PORTS: usize = 5;
const MESSAGE: usize = 7;
const IDENTIFIER: usize = 13;
const IN_RANGE: usize = 14;
const TAKE: usize = 16;
const DROP: usize = 17;

/// What a socket lets pass.
#[derive(Debug)]
pub struct Filter(Vec<SockFilter>);

/// How ICMP is numbered in a family.
struct Icmp {
    protocol: u32,
    echo_reply: u32,
    errors: [u32; 4],
}

impl Filter {
    /// IPv4 packets, from their IP header on, that can answer questions from `ports`: TCP segments with SYN or RST and UDP
    /// datagrams to them, echo replies that have one for their identifier, and all ICMP errors.
    pub fn answers_v4(ports: RangeInclusive<u16>) -> Self {
        let front = [
            step(LOAD_WORD | PACKET, 6, 0, 0),
            // Later pieces have no ports. From here it is two steps to the common part.
            step(HAS_ANY, 0x1FFF, 2 + DROP, 0),
            step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
            step(LOAD_BYTE | PACKET, 9, 0, 0),
        ];
        Self::new(front, &Icmp { protocol: 1, echo_reply: 0, errors: [3, 11, 12, 12] }, ports)
    }

    /// The same over IPv6. Extension headers are not looked behind: answers have none.
    pub fn answers_v6(ports: RangeInclusive<u16>) -> Self {
        let front =
            [step(libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM, 40, 0, 0), step(LOAD_BYTE | PACKET, 6, 0, 0)];
        Self::new(front, &Icmp { protocol: 58, echo_reply: 129, errors: [1, 2, 3, 4] }, ports)
    }

    /// ARP packets, whatever they say.
    pub fn arp() -> Self {
        Self(vec![step(RETURN, WHOLE, 0, 0)])
    }

    /// Neighbour advertisements over IPv6, from their IP header on.
    pub fn advertisements() -> Self {
        const ICMPV6: u32 = 58;
        const ADVERTISEMENT: u32 = 136;
        Self(vec![
            step(LOAD_BYTE | PACKET, 6, 0, 0),
            step(IS, ICMPV6, 0, 3),
            step(LOAD_BYTE | PACKET, 40, 0, 0),
            step(IS, ADVERTISEMENT, 0, 1),
            step(RETURN, WHOLE, 0, 0),
            step(RETURN, 0, 0, 0),
        ])
    }

    /// `front` finds the length of the IP header and the number of the protocol behind it.
    fn new<const N: usize>(front: [SockFilter; N], icmp: &Icmp, ports: RangeInclusive<u16>) -> Self {
        let to = |code, k, at: usize, yes: usize, no: usize| step(code, k, yes - at - 1, no - at - 1);
        let error = |at: usize, kind, no| to(IS, kind, at, TAKE, no);
        let common = [
            to(IS, TCP, 0, SEGMENT, 1),
            to(IS, UDP, 1, PORTS, 2),
            to(IS, icmp.protocol, 2, MESSAGE, DROP),
            step(LOAD_BYTE | PAYLOAD, 13, 0, 0),
            to(HAS_ANY, SYN_OR_RST, 4, PORTS, DROP),
            step(LOAD_WORD | PAYLOAD, 2, 0, 0),
            step(GO, (IN_RANGE - 7) as u32, 0, 0),
            step(LOAD_BYTE | PAYLOAD, 0, 0, 0),
            to(IS, icmp.echo_reply, 8, IDENTIFIER, 9),
            error(9, icmp.errors[0], 10),
            error(10, icmp.errors[1], 11),
            error(11, icmp.errors[2], 12),
            error(12, icmp.errors[3], DROP),
            step(LOAD_WORD | PAYLOAD, 4, 0, 0),
            to(AT_LEAST, u32::from(*ports.start()), IN_RANGE, 15, DROP),
            to(ABOVE, u32::from(*ports.end()), 15, DROP, TAKE),
            step(RETURN, WHOLE, 0, 0),
            step(RETURN, 0, 0, 0),
        ];
        Self(front.into_iter().chain(common).collect())
    }

    /// The instructions.
    pub fn program(&self) -> &[SockFilter] {
        &self.0
    }
}

/// An instruction; where it is a decision, how many steps to leave out if so and if not.
fn step(code: u32, k: u32, yes: usize, no: usize) -> SockFilter {
    SockFilter::new(code as u16, yes as u8, no as u8, k)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    const PORTS: RangeInclusive<u16> = 61_000..=64_999;

    /// Whether the kernel lets `packet` through the filter: any socket can have one.
    fn passes(filter: &Filter, packet: &[u8]) -> bool {
        let (here, there) = UnixDatagram::pair().unwrap();
        socket2::SockRef::from(&there).attach_filter(filter.program()).unwrap();
        there.set_nonblocking(true).unwrap();
        // What a filter refuses is gone, and the sender is not told.
        here.send(packet).unwrap();
        let mut buffer = [0; 2048];
        let received = there.recv(&mut buffer).ok();
        assert!(received.is_none_or(|length| buffer[..length] == *packet));
        received.is_some()
    }

    fn v4(protocol: u8, options: usize, offset: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20 + options];
        packet[0] = 0x45 + (options / 4) as u8;
        packet[6..8].copy_from_slice(&offset.to_be_bytes());
        packet[9] = protocol;
        [&packet, payload].concat()
    }

    fn v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x60, protocol);
        [&packet, payload].concat()
    }

    fn to_port(port: u16, flags: u8) -> Vec<u8> {
        let [high, low] = port.to_be_bytes();
        vec![0, 80, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn segments_and_datagrams_pass_by_their_port() {
        let filters = [Filter::answers_v4(PORTS), Filter::answers_v6(PORTS)];
        for (port, flags, tcp, udp) in [
            (61_000, 0x12, true, true),
            (64_999, 0x14, true, true),
            (60_999, 0x12, false, false),
            (65_000, 0x12, false, false),
            (62_000, 0x10, false, true),
            (62_000, 0x04, true, true),
        ] {
            let segment = to_port(port, flags);
            for (protocol, wanted) in [(6, tcp), (17, udp), (132, false)] {
                let why = format!("port {port}, flags {flags:#x}, protocol {protocol}");
                for options in [0, 4, 40] {
                    assert_eq!(passes(&filters[0], &v4(protocol, options, 0, &segment)), wanted, "{why}");
                }
                assert_eq!(passes(&filters[1], &v6(protocol, &segment)), wanted, "{why}");
            }
        }
    }

    #[test]
    fn a_first_piece_passes_and_a_later_one_does_not() {
        let filter = Filter::answers_v4(PORTS);
        for (offset, wanted) in [(0x4000, true), (0x2000, true), (0x2001, false), (0x0100, false)] {
            assert_eq!(passes(&filter, &v4(17, 0, offset, &to_port(62_000, 0))), wanted, "{offset:#x}");
        }
    }

    #[test]
    fn echo_replies_pass_by_their_identifier_and_errors_always() {
        let message = |kind: u8, id: u16| {
            let [high, low] = id.to_be_bytes();
            vec![kind, 0, 0, 0, high, low, 0, 0]
        };
        let filters = [Filter::answers_v4(PORTS), Filter::answers_v6(PORTS)];
        for (kinds, id, wanted) in [
            ([0, 129], 61_000, true),
            ([0, 129], 7, false),
            ([8, 128], 61_000, false),
            ([3, 1], 0, true),
            ([11, 2], 0, true),
            ([12, 4], 0, true),
            ([5, 137], 0, false),
        ] {
            assert_eq!(passes(&filters[0], &v4(1, 4, 0, &message(kinds[0], id))), wanted, "{kinds:?}");
            assert_eq!(passes(&filters[1], &v6(58, &message(kinds[1], id))), wanted, "{kinds:?}");
        }
    }

    #[test]
    fn of_ipv6_packets_only_advertisements_pass() {
        let filter = Filter::advertisements();
        for (protocol, kind, wanted) in [(58, 136, true), (58, 135, false), (17, 136, false)] {
            assert_eq!(passes(&filter, &v6(protocol, &[kind, 0, 0, 0])), wanted, "{protocol} {kind}");
        }
        assert!(passes(&Filter::arp(), &[0, 1, 8, 0]));
    }

    #[test]
    fn what_is_cut_short_does_not_pass() {
        let filter = Filter::answers_v4(PORTS);
        let whole = v4(6, 0, 0, &to_port(62_000, 0x12));
        for length in [1, 8, 19, 20, 22, 33] {
            assert!(!passes(&filter, &whole[..length]), "{length}");
        }
    }
}
