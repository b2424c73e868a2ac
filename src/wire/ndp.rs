//! Neighbour discovery for IPv6 over Ethernet (RFC 4861, RFC 2464).

use super::ethernet;
use super::icmp::v6::{self, seal};
use super::ip;
use super::ipv6::{self, Header, Pair};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Options: the type of each, and that it is one unit of eight bytes long.
const SOURCE_MAC: [u8; 2] = [1, 1];
const TARGET_MAC: [u8; 2] = [2, 1];
/// ICMPv6 header with flags, and target.
const MESSAGE: usize = 24;
const OPTION: usize = 8;
/// Routers never forward neighbour discovery: who gets it with this hop limit gets it from a neighbour (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;
/// Flags of an advertisement (RFC 4861 §4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Length of a packet as it is written here: with one option.
pub const PACKET: usize = ipv6::HEADER + MESSAGE + OPTION;
/// Length of a frame that carries one, without tags.
pub const FRAME: usize = ethernet::HEADER + PACKET;
/// All nodes of the link: ff02::1.
pub const ALL_NODES: u128 = 0xFF02 << 112 | 1;

/// The multicast address at which the holder of `address` hears solicitations: ff02::1:ff and the last 24 bits.
pub const fn solicited_node(address: u128) -> u128 {
    (0xFF02 << 112) | 0x1_FF00_0000 | (address & 0x00FF_FFFF)
}

/// The MAC address of a multicast address: 33:33 and the last 32 bits (RFC 2464 §7).
pub const fn multicast_mac(address: u128) -> [u8; 6] {
    let [a, b, c, d] = (address as u32).to_be_bytes();
    [0x33, 0x33, a, b, c, d]
}

/// Somebody asks for a MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks; 0 (::) where somebody makes sure that nobody has `target` yet (RFC 4862 §5.4).
    pub source: u128,
    /// Whose MAC address is asked for.
    pub target: u128,
    /// The MAC address of who asks, if it says so.
    pub source_mac: Option<[u8; 6]>,
}

/// Somebody says which MAC address an address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertisement {
    /// Whose it is.
    pub target: u128,
    /// The MAC address, if it is said.
    pub target_mac: Option<[u8; 6]>,
}

impl Solicitation {
    /// Reads the packet of `header`; none where it is no valid solicitation (RFC 4861 §7.1.1).
    pub fn parse(packet: &[u8], header: &Header) -> Option<Self> {
        let (fixed, options) = message(packet, header, SOLICITATION)?;
        let source_mac = find(options, SOURCE_MAC)?;
        let [source, destination] = header.addresses;
        let target = u128::from_be_bytes(*fixed[8..].first_chunk()?);
        let probe_is_odd = source == 0 && (source_mac.is_some() || destination != solicited_node(target));
        (!is_multicast(target) && !is_multicast(source) && !probe_is_odd).then_some(Self {
            source,
            target,
            source_mac,
        })
    }
}

impl Advertisement {
    /// Reads the packet of `header`; none where it is no valid advertisement (RFC 4861 §7.1.2).
    pub fn parse(packet: &[u8], header: &Header) -> Option<Self> {
        let (fixed, options) = message(packet, header, ADVERTISEMENT)?;
        let target_mac = find(options, TARGET_MAC)?;
        let target = u128::from_be_bytes(*fixed[8..].first_chunk()?);
        let solicited_by_all = is_multicast(header.addresses[1]) && fixed[4] & SOLICITED != 0;
        (!is_multicast(target) && !solicited_by_all).then_some(Self { target, target_mac })
    }
}

/// The fixed part and the options of a message of this kind that a neighbour sent.
fn message<'a>(packet: &'a [u8], header: &Header, kind: u8) -> Option<(&'a [u8], &'a [u8])> {
    let message = packet.get(usize::from(header.header_len)..usize::from(header.total_len))?;
    let (fixed, options) = message.split_at_checked(MESSAGE)?;
    let valid = header.protocol == ip::ICMPV6
        && header.hop_limit == HOP_LIMIT
        && header.fragment.is_none()
        && fixed[..2] == [kind, 0]
        && v6::parse(header.addresses, message).is_ok();
    valid.then_some((fixed, options))
}

/// The MAC address in the option of this kind, if there is one; none at all where the options are no options.
fn find(mut options: &[u8], kind: [u8; 2]) -> Option<Option<[u8; 6]>> {
    let mut found = None;
    // Each is at least eight bytes of a packet that is not long.
    while !options.is_empty() {
        let length = usize::from(*options.get(1)?) * OPTION;
        let option = options.get(..length).filter(|option| !option.is_empty())?;
        if option[..2] == kind {
            found = option.get(2..8)?.try_into().ok();
        }
        options = &options[length..];
    }
    Some(found)
}

const fn is_multicast(address: u128) -> bool {
    address >> 120 == 0xFF
}

/// Writes the answer that `solicitation.target` is at `mac` as the IPv6 packet at the start of `packet`, over the
/// solicitation if need be; returns its length, none where [`PACKET`] bytes have no room. `router` says that we are one.
///
/// The frame goes to who asked, or to all nodes where the question came from :: ([`multicast_mac`] of [`ALL_NODES`]).
pub fn answer(packet: &mut [u8], solicitation: &Solicitation, mac: [u8; 6], router: bool) -> Option<usize> {
    let (destination, solicited) = match solicitation.source {
        0 => (ALL_NODES, 0),
        source => (source, SOLICITED),
    };
    let flags = solicited | OVERRIDE | if router { ROUTER } else { 0 };
    let option = (TARGET_MAC, mac);
    write(packet, [solicitation.target, destination], ADVERTISEMENT, flags, solicitation.target, option)
}

/// A frame without tags that tells all nodes that `target` is at `mac` now (RFC 4861 §7.2.6).
pub fn unsolicited(target: u128, mac: [u8; 6], router: bool) -> [u8; FRAME] {
    let flags = OVERRIDE | if router { ROUTER } else { 0 };
    frame([target, ALL_NODES], ADVERTISEMENT, flags, target, mac, TARGET_MAC)
}

/// A frame without tags in which `source`, at `mac`, asks for the MAC address of `target` (RFC 4861 §7.2.2).
pub fn solicitation(target: u128, source: u128, mac: [u8; 6]) -> [u8; FRAME] {
    frame([source, solicited_node(target)], SOLICITATION, 0, target, mac, SOURCE_MAC)
}

/// A frame to a multicast destination.
fn frame(addresses: Pair, kind: u8, flags: u8, target: u128, mac: [u8; 6], option: [u8; 2]) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let macs = ethernet::macs(multicast_mac(addresses[1]), mac);
    ethernet::write_header(&mut frame, &macs, &ethernet::Tags::none(), ethernet::IPV6);
    write(&mut frame[ethernet::HEADER..], addresses, kind, flags, target, (option, mac));
    frame
}

fn write(
    packet: &mut [u8],
    addresses: Pair,
    kind: u8,
    flags: u8,
    target: u128,
    (option, mac): ([u8; 2], [u8; 6]),
) -> Option<usize> {
    let (header, message) =
        packet.first_chunk_mut::<PACKET>()?.split_first_chunk_mut::<{ ipv6::HEADER }>()?;
    ipv6::write(header, addresses, ip::ICMPV6, message.len() as u16, HOP_LIMIT);
    message[..8].copy_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    message[8..MESSAGE].copy_from_slice(&target.to_be_bytes());
    message[MESSAGE..MESSAGE + 2].copy_from_slice(&option);
    message[MESSAGE + 2..].copy_from_slice(&mac);
    seal(addresses, message);
    Some(PACKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const HOST: u128 = 0x2001_0DB8 << 96 | 0x0007;
    const VIP: u128 = 0x2001_0DB8 << 96 | 0x00AB_CDEF;

    fn parse(packet: &[u8]) -> Option<Solicitation> {
        Solicitation::parse(packet, &Header::parse(packet).unwrap())
    }

    /// Makes the checksum right again after `change`.
    fn changed(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut packet = solicitation(VIP, HOST, MAC)[14..].to_vec();
        change(&mut packet);
        let addresses = Header::parse(&packet).unwrap().addresses;
        seal(addresses, &mut packet[40..]);
        packet
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_its_target() {
        let frame = solicitation(VIP, HOST, MAC);
        assert_eq!(frame[..6], [0x33, 0x33, 0xFF, 0xAB, 0xCD, 0xEF]);
        assert_eq!(solicited_node(VIP), "ff02::1:ffab:cdef".parse::<std::net::Ipv6Addr>().unwrap().into());
        assert_eq!(
            parse(&frame[14..]),
            Some(Solicitation { source: HOST, target: VIP, source_mac: Some(MAC) })
        );
    }

    #[test]
    fn what_a_neighbour_would_not_send_is_no_solicitation() {
        assert!(parse(&changed(|_| ())).is_some());
        for (why, packet) in [
            ("hop limit", changed(|packet| packet[7] = 254)),
            ("code", changed(|packet| packet[41] = 1)),
            ("an advertisement", changed(|packet| packet[40] = 136)),
            ("a multicast target", changed(|packet| packet[48] = 0xFF)),
            ("an option of no length", changed(|packet| packet[65] = 0)),
            ("an option beyond the end", changed(|packet| packet[65] = 2)),
            ("a probe with a MAC address", changed(|packet| packet[8..24].fill(0))),
        ] {
            assert_eq!(parse(&packet), None, "{why}");
        }
        let mut packet = changed(|_| ());
        packet[60] ^= 1;
        assert_eq!(parse(&packet), None, "checksum");
    }

    #[test]
    fn a_probe_is_answered_to_all_nodes() {
        let mut probe = changed(|packet| {
            packet.truncate(64);
            packet[5] = 24;
            packet[8..24].fill(0);
        });
        let asked = parse(&probe).unwrap();
        assert_eq!(asked, Solicitation { source: 0, target: VIP, source_mac: None });
        assert_eq!(answer(&mut probe.clone(), &asked, MAC, false), None, "no room for the option");
        probe.resize(80, 0);
        assert_eq!(answer(&mut probe, &asked, MAC, false), Some(72));
        let header = Header::parse(&probe).unwrap();
        assert_eq!((header.addresses, header.hop_limit), ([VIP, ALL_NODES], 255));
        assert_eq!(probe[44], OVERRIDE);
        assert_eq!(multicast_mac(ALL_NODES), [0x33, 0x33, 0, 0, 0, 1]);
    }

    #[test]
    fn the_answer_goes_back_to_who_asked_and_an_independent_decoder_reads_it() {
        let mut packet = changed(|_| ());
        let asked = parse(&packet).unwrap();
        assert_eq!(answer(&mut packet, &asked, MAC, true), Some(72));
        let sliced = etherparse::SlicedPacket::from_ip(&packet).unwrap();
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!() };
        assert!(icmp.is_checksum_valid(VIP.to_be_bytes(), HOST.to_be_bytes()));
        let etherparse::Icmpv6Type::NeighborAdvertisement(said) = icmp.icmp_type() else { panic!() };
        assert!(said.router && said.solicited && said.r#override);
        assert_eq!(packet[64..], [2, 1, 2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn an_announcement_reaches_all_nodes() {
        let frame = unsolicited(VIP, MAC, false);
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xDD]);
        let header = Header::parse(&frame[14..]).unwrap();
        assert_eq!(header.addresses, [VIP, ALL_NODES]);
        let said = Advertisement { target: VIP, target_mac: Some(MAC) };
        assert_eq!(Advertisement::parse(&frame[14..], &header), Some(said));
        assert_eq!(Solicitation::parse(&frame[14..], &header), None);
        assert!(v6::parse(header.addresses, &frame[54..]).is_ok());
        assert_eq!(frame[58], OVERRIDE);
    }
}
