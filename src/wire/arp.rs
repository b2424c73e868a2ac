//! ARP for IPv4 over Ethernet (RFC 826), and announcements (RFC 5227).

use etherparse::{ArpHardwareId, ArpOperation, ArpPacketSlice, EtherType};

use super::ethernet::{self, BROADCAST};

/// Length of a packet for IPv4 over Ethernet.
pub const PACKET: usize = 28;
/// Length of a frame that carries one, padded to Ethernet's minimum (64 bytes less the frame check sequence).
pub const FRAME: usize = 60;

/// A request for somebody's MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub sender_mac: [u8; 6],
    /// From which address; 0 in a probe (RFC 5227 §2.1.1).
    pub sender: u32,
    /// Whose MAC address is asked for.
    pub target: u32,
}

/// Somebody says which MAC address an address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The MAC address.
    pub sender_mac: [u8; 6],
    /// Whose it is.
    pub sender: u32,
}

impl Request {
    /// Reads the packet behind the Ethernet header; none where it is no request for IPv4 over Ethernet.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let arp = read(packet, ArpOperation::REQUEST)?;
        Some(Self {
            sender_mac: arp.sender_hw_addr().try_into().ok()?,
            sender: u32::from_be_bytes(arp.sender_protocol_addr().try_into().ok()?),
            target: u32::from_be_bytes(arp.target_protocol_addr().try_into().ok()?),
        })
    }
}

impl Reply {
    /// Reads the packet behind the Ethernet header; none where it is no reply for IPv4 over Ethernet.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let arp = read(packet, ArpOperation::REPLY)?;
        Some(Self {
            sender_mac: arp.sender_hw_addr().try_into().ok()?,
            sender: u32::from_be_bytes(arp.sender_protocol_addr().try_into().ok()?),
        })
    }
}

/// A packet of this operation for IPv4 over Ethernet.
fn read(packet: &[u8], operation: ArpOperation) -> Option<ArpPacketSlice<'_>> {
    let arp = ArpPacketSlice::from_slice(packet).ok()?;
    let ours = arp.hw_addr_type() == ArpHardwareId::ETHERNET
        && arp.proto_addr_type() == EtherType::IPV4
        && arp.operation() == operation;
    ours.then_some(arp)
}

/// Turns the frame of `request`, whose packet starts at `offset`, into the answer that `request.target` is at `mac`.
pub fn answer(frame: &mut [u8], offset: usize, request: &Request, mac: [u8; 6]) {
    ethernet::set_macs(frame, &ethernet::macs(request.sender_mac, mac));
    if let Some(packet) = frame.get_mut(offset..offset + PACKET) {
        write(packet, 2, mac, request.target, request.sender_mac, request.sender);
    }
}

/// A frame that announces `address` at `mac` to everybody (RFC 5227 §2.3: a request with sender = target).
pub fn announcement(address: u32, mac: [u8; 6]) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    ethernet::set_macs(&mut frame, &ethernet::macs(BROADCAST, mac));
    frame[12..14].copy_from_slice(&ethernet::ARP.to_be_bytes());
    write(&mut frame[ethernet::HEADER..ethernet::HEADER + PACKET], 1, mac, address, [0; 6], address);
    frame
}

fn write(
    packet: &mut [u8],
    operation: u16,
    sender_mac: [u8; 6],
    sender: u32,
    target_mac: [u8; 6],
    target: u32,
) {
    packet[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    packet[6..8].copy_from_slice(&operation.to_be_bytes());
    packet[8..14].copy_from_slice(&sender_mac);
    packet[14..18].copy_from_slice(&sender.to_be_bytes());
    packet[18..24].copy_from_slice(&target_mac);
    packet[24..28].copy_from_slice(&target.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_reads_as_a_request_for_oneself() {
        let frame = announcement(0xC612_0064, [2, 0, 0, 0, 0, 1]);
        let request = Request::parse(&frame[14..]).unwrap();
        assert_eq!((request.sender, request.target), (0xC612_0064, 0xC612_0064));
        assert_eq!(&frame[..6], &BROADCAST);
    }

    #[test]
    fn the_answer_goes_back_to_who_asked() {
        let mut frame = announcement(0xC612_0001, [2, 0, 0, 0, 0, 9]);
        frame[38..42].copy_from_slice(&[198, 18, 0, 100]);
        let request = Request::parse(&frame[14..]).unwrap();
        answer(&mut frame, ethernet::HEADER, &request, [2, 0, 0, 0, 0, 1]);
        assert_eq!(frame[..12], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1]);
        assert_eq!(frame[20..22], [0, 2]);
        assert_eq!(frame[22..32], [2, 0, 0, 0, 0, 1, 198, 18, 0, 100]);
        assert_eq!(frame[32..42], [2, 0, 0, 0, 0, 9, 198, 18, 0, 1]);
        assert_eq!(Request::parse(&frame[14..]), None, "an answer is no request");
        let said = Reply { sender_mac: [2, 0, 0, 0, 0, 1], sender: 0xC612_0064 };
        assert_eq!(Reply::parse(&frame[14..]), Some(said));
    }

    #[test]
    fn a_short_packet_is_no_request() {
        let frame = announcement(1, [2, 0, 0, 0, 0, 1]);
        assert_eq!(Request::parse(&frame[14..14 + PACKET - 1]), None);
    }
}
