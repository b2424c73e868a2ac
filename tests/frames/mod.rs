//! Frames for tests: built with etherparse, checked by a plain computation, sent through the data path.
//!
//! Nothing in here uses the switch's own setters or its checksums by difference.

#![allow(dead_code, reason = "every test crate that shares this module needs another part of it")]

pub mod check;
pub mod flow;
pub mod lab;
pub mod modes;
pub mod network;
pub mod outbound;
pub mod pieces;
pub mod segments;
pub mod strict;

use std::net::SocketAddrV4;

use etherparse::{IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv4Options, PacketBuilder, TcpHeader};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
/// Offset of the IP header.
pub const IP: usize = 14;

/// Both sides of a connection begin here; what they acknowledge is the next number.
pub const SEQUENCE: u32 = 0x0102_0304;

pub type Mac = [u8; 6];

/// A TCP or UDP packet over IPv4 over Ethernet, as a description that reads like one.
#[derive(Debug, Clone)]
pub struct Packet {
    pub from: Mac,
    pub to: Mac,
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
    pub protocol: u8,
    pub flags: u8,
    pub ttl: u8,
    /// TCP sequence number.
    pub sequence: u32,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub padding: Vec<u8>,
    pub checksum: Checksum,
}

/// What the TCP or UDP checksum of a packet is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    Right,
    /// Too large by so much, in one's complement.
    WrongBy(u16),
    /// UDP without one.
    Absent,
    /// That of the pseudo-header alone: the rest was left to an offload.
    LeftToOffload,
}

/// A TCP segment with `flags` between two endpoints.
pub fn tcp(source: &str, destination: &str, flags: u8) -> Packet {
    Packet {
        from: [0; 6],
        to: [0; 6],
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: TCP,
        flags,
        ttl: 64,
        sequence: SEQUENCE,
        options: Vec::new(),
        payload: Vec::new(),
        padding: Vec::new(),
        checksum: Checksum::Right,
    }
}

/// A UDP datagram between two endpoints.
pub fn udp(source: &str, destination: &str) -> Packet {
    Packet { protocol: UDP, payload: b"a question?".to_vec(), ..tcp(source, destination, 0) }
}

impl Packet {
    pub fn macs(self, from: Mac, to: Mac) -> Self {
        Self { from, to, ..self }
    }

    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    pub fn sequence(self, sequence: u32) -> Self {
        Self { sequence, ..self }
    }

    pub fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// Bytes behind the IP packet.
    pub fn padding(self, padding: &[u8]) -> Self {
        Self { padding: padding.to_vec(), ..self }
    }

    pub fn checksum(self, checksum: Checksum) -> Self {
        Self { checksum, ..self }
    }

    /// Length of the IP header.
    pub fn ip_header_len(&self) -> usize {
        20 + self.options.len()
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        let header = Ipv4Header {
            time_to_live: self.ttl,
            identification: 0x1234,
            dont_fragment: true,
            fragment_offset: IpFragOffset::ZERO,
            protocol: IpNumber(self.protocol),
            source: self.source.ip().octets(),
            destination: self.destination.ip().octets(),
            options: Ipv4Options::try_from(&self.options[..]).unwrap(),
            ..Ipv4Header::default()
        };
        let step = PacketBuilder::ethernet2(self.from, self.to)
            .ip(IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()));
        let mut frame = Vec::new();
        if self.protocol == TCP {
            step.tcp_header(self.tcp_header()).write(&mut frame, &self.payload).unwrap();
        } else {
            let step = step.udp(self.source.port(), self.destination.port());
            step.write(&mut frame, &self.payload).unwrap();
        }
        self.spoil(&mut frame);
        frame.extend_from_slice(&self.padding);
        frame
    }

    fn tcp_header(&self) -> TcpHeader {
        TcpHeader {
            source_port: self.source.port(),
            destination_port: self.destination.port(),
            sequence_number: self.sequence,
            acknowledgment_number: if self.flags & ACK != 0 { SEQUENCE + 1 } else { 0 },
            fin: self.flags & FIN != 0,
            syn: self.flags & SYN != 0,
            rst: self.flags & RST != 0,
            psh: self.flags & PSH != 0,
            ack: self.flags & ACK != 0,
            urg: self.flags & URG != 0,
            window_size: 64_000,
            ..TcpHeader::default()
        }
    }

    fn spoil(&self, frame: &mut [u8]) {
        let at = IP + self.ip_header_len() + if self.protocol == TCP { 16 } else { 6 };
        let right = u16::from_be_bytes([frame[at], frame[at + 1]]);
        let field = match self.checksum {
            Checksum::Right => right,
            Checksum::WrongBy(amount) => check::add(right, amount),
            Checksum::Absent => 0,
            Checksum::LeftToOffload => check::pseudo_header(&frame[IP..]),
        };
        frame[at..at + 2].copy_from_slice(&field.to_be_bytes());
    }
}

/// An ARP packet for IPv4 over Ethernet in a frame of 60 bytes.
#[derive(Debug, Clone)]
pub struct Arp {
    pub from: Mac,
    pub to: Mac,
    /// 1 asks, 2 answers.
    pub operation: u16,
    pub sender: (Mac, [u8; 4]),
    pub target: (Mac, [u8; 4]),
}

impl Arp {
    /// Who asks everybody for the MAC address of `target`.
    pub fn request(sender: (Mac, [u8; 4]), target: [u8; 4]) -> Self {
        Self { from: sender.0, to: [0xFF; 6], operation: 1, sender, target: ([0; 6], target) }
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(60);
        frame.extend_from_slice(&self.to);
        frame.extend_from_slice(&self.from);
        frame.extend_from_slice(&[0x08, 0x06, 0, 1, 8, 0, 6, 4]);
        frame.extend_from_slice(&self.operation.to_be_bytes());
        for (mac, address) in [self.sender, self.target] {
            frame.extend_from_slice(&mac);
            frame.extend_from_slice(&address);
        }
        frame.resize(60, 0);
        frame
    }
}
