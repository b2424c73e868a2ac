//! TCP segments over either family, with options, built and read by etherparse alone.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};

use super::{ACK, Mac};

/// The options of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub mss: Option<u16>,
    pub scale: Option<u8>,
    pub sack_permitted: bool,
    /// Value and echo.
    pub stamps: Option<(u32, u32)>,
    /// Left and right edges.
    pub sack: Vec<(u32, u32)>,
}

/// A segment between two hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub macs: [Mac; 2],
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    pub window: u16,
    /// The last two bits of the traffic class.
    pub ecn: u8,
    pub said: Said,
    pub data: Vec<u8>,
}

impl Segment {
    pub fn new(macs: [Mac; 2], from: &str, to: &str, flags: u8) -> Self {
        Self {
            macs,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            sequence: 0,
            acknowledgment: 0,
            flags,
            window: 1000,
            ecn: 0,
            said: Said::default(),
            data: Vec::new(),
        }
    }

    pub fn is(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    fn options(&self) -> Vec<TcpOptionElement> {
        use TcpOptionElement::{
            MaximumSegmentSize, Noop, SelectiveAcknowledgement, SelectiveAcknowledgementPermitted, Timestamp,
            WindowScale,
        };
        let mut options = Vec::new();
        options.extend(self.said.mss.map(MaximumSegmentSize));
        options.extend(self.said.sack_permitted.then_some(SelectiveAcknowledgementPermitted));
        options.extend(self.said.stamps.map(|(value, echo)| Timestamp(value, echo)));
        options.extend(self.said.scale.map(WindowScale));
        if let [first, rest @ ..] = &self.said.sack[..] {
            options.push(Noop);
            options.push(SelectiveAcknowledgement(*first, std::array::from_fn(|at| rest.get(at).copied())));
        }
        options
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(self.macs[0], self.macs[1]);
        let builder = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("two families in one packet"),
        };
        let tcp = builder.tcp(self.from.port(), self.to.port(), self.sequence, self.window);
        let mut tcp = tcp.options(&self.options()).unwrap();
        for (bit, set) in [1u8, 2, 4, 8, 0x40, 0x80].map(|bit| (bit, self.flags & bit != 0)) {
            tcp = match (set, bit) {
                (false, _) => tcp,
                (_, 1) => tcp.fin(),
                (_, 2) => tcp.syn(),
                (_, 4) => tcp.rst(),
                (_, 8) => tcp.psh(),
                (_, 0x40) => tcp.ece(),
                _ => tcp.cwr(),
            };
        }
        if self.is(ACK) {
            tcp = tcp.ack(self.acknowledgment);
        }
        let mut frame = Vec::new();
        tcp.write(&mut frame, &self.data).unwrap();
        self.mark(&mut frame);
        frame
    }

    fn mark(&self, frame: &mut [u8]) {
        if self.from.is_ipv4() {
            frame[15] |= self.ecn;
            frame[24..26].fill(0);
            let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap().to_header();
            frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        } else {
            frame[15] |= self.ecn << 4;
        }
    }

    /// Reads a frame, all of whose checksums must be right.
    pub fn read(frame: &[u8]) -> Self {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP: {frame:?}") };
        let (from, to, ecn, right) = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
                let right = tcp.calc_checksum_ipv4(header.source(), header.destination());
                let (from, to) = (header.source_addr(), header.destination_addr());
                (IpAddr::V4(from), IpAddr::V4(to), header.ecn().value(), right)
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let right = tcp.calc_checksum_ipv6(header.source(), header.destination());
                let (from, to) = (header.source_addr(), header.destination_addr());
                (IpAddr::V6(from), IpAddr::V6(to), header.traffic_class() & 3, right)
            }
            NetSlice::Arp(_) => panic!("ARP"),
        };
        assert_eq!(right.unwrap(), tcp.checksum(), "the checksum of {tcp:?}");
        let mut said = Said::default();
        for option in tcp.options_iterator() {
            match option.unwrap() {
                TcpOptionElement::MaximumSegmentSize(size) => said.mss = Some(size),
                TcpOptionElement::WindowScale(scale) => said.scale = Some(scale),
                TcpOptionElement::SelectiveAcknowledgementPermitted => said.sack_permitted = true,
                TcpOptionElement::Timestamp(value, echo) => said.stamps = Some((value, echo)),
                TcpOptionElement::SelectiveAcknowledgement(first, rest) => {
                    said.sack = [Some(first)].into_iter().chain(rest).flatten().collect();
                }
                TcpOptionElement::Noop => {}
            }
        }
        Self {
            macs: [frame[6..12].try_into().unwrap(), frame[..6].try_into().unwrap()],
            from: SocketAddr::new(from, tcp.source_port()),
            to: SocketAddr::new(to, tcp.destination_port()),
            sequence: tcp.sequence_number(),
            acknowledgment: tcp.acknowledgment_number(),
            flags: tcp.slice()[13],
            window: tcp.window_size(),
            ecn,
            said,
            data: tcp.payload().to_vec(),
        }
    }
}
