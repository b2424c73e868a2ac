//! Frames of millions of clients, each by a few changes to one template, so that making them costs little.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use xswitch::dataplane::Verdict;
use xswitch::tables::{InterfaceId, Protocol};
use xswitch::wire::tcp::Flags;

use crate::frames::{self, Error};

pub const CLIENT_SIDE: InterfaceId = InterfaceId(0);
pub const SERVER_SIDE: InterfaceId = InterfaceId(1);
const SWITCH_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0A];
const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0B];

/// Ports that each client address uses: 2^13, so that ten million clients are 1,221 addresses.
const PORTS_SHIFT: u32 = 13;
const FIRST_PORT: u16 = 1024;
const ETHERNET: usize = 14;

/// Which of the services of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    pub v6: bool,
    pub protocol: Protocol,
}

impl Service {
    pub const UDP: Self = Self { v6: false, protocol: Protocol::Udp };
    pub const TCP: Self = Self { v6: false, protocol: Protocol::Tcp };
    pub const UDP_V6: Self = Self { v6: true, protocol: Protocol::Udp };

    fn vip(self) -> SocketAddr {
        let (v4, v6) = (Ipv4Addr::new(198, 18, 0, 100), Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 0x64));
        SocketAddr::new(if self.v6 { v6.into() } else { v4.into() }, 80)
    }

    fn backend(self) -> SocketAddr {
        let (v4, v6) = (Ipv4Addr::new(198, 18, 1, 11), Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 11));
        SocketAddr::new(if self.v6 { v6.into() } else { v4.into() }, 8080)
    }

    /// The client with these low 32 bits of an address.
    fn client(self, low: u32, port: u16) -> SocketAddr {
        let v6 = u128::from(Ipv6Addr::new(0x2001, 0xDB8, 9, 0, 0, 0, 0, 0)) + u128::from(low);
        let address: IpAddr = if self.v6 { Ipv6Addr::from(v6).into() } else { Ipv4Addr::from(low).into() };
        SocketAddr::new(address, port)
    }
}

/// Low 32 bits of the address, and port, of client number `client`.
fn endpoint(client: u32) -> (u32, u16) {
    let low = 0x1000_0000 + (client >> PORTS_SHIFT);
    (low, FIRST_PORT + (client & ((1 << PORTS_SHIFT) - 1)) as u16)
}

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Request,
    Reply,
}

/// What the frames of all clients have in common, and where they differ.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    pub ingress: InterfaceId,
    /// What becomes of such a frame where all is well.
    pub forwarded: Verdict,
    address: usize,
    port: usize,
    /// Where a checksum is, and its one's-complement sum without the client's address and port.
    sums: [Option<(usize, u32)>; 2],
}

impl Template {
    pub fn new(service: Service, direction: Direction, flags: Flags) -> Result<Self, Error> {
        let (low, port) = endpoint(0);
        let client = service.client(low, port);
        let (from, to) = match direction {
            Direction::Request => ((ROUTER_MAC, client), (SWITCH_MACS[0], service.vip())),
            Direction::Reply => ((BACKEND_MAC, service.backend()), (SWITCH_MACS[1], client)),
        };
        let bytes = frames::shortest(service.protocol, from, to, flags)?;
        let (header, source) = if service.v6 { (40, 8 + 12) } else { (20, 12) };
        let width = if service.v6 { 16 } else { 4 };
        let transport = ETHERNET + header;
        let checksum = transport + if service.protocol == Protocol::Udp { 6 } else { 16 };
        let is_reply = direction == Direction::Reply;
        let (ingress, egress) =
            if is_reply { (SERVER_SIDE, CLIENT_SIDE) } else { (CLIENT_SIDE, SERVER_SIDE) };
        let without = |offset: usize, words: &[u16]| -> (usize, u32) {
            let written = !u16::from_be_bytes([bytes[offset], bytes[offset + 1]]);
            (offset, words.iter().fold(u32::from(written), |sum, word| sum + u32::from(!word)))
        };
        let address_words = [(low >> 16) as u16, low as u16];
        let with_port = [address_words[0], address_words[1], port];
        let sums = [
            (!service.v6).then(|| without(ETHERNET + 10, &address_words)),
            Some(without(checksum, &with_port)),
        ];
        Ok(Self {
            ingress,
            forwarded: Verdict::Forward(egress),
            address: ETHERNET + source + if is_reply { width } else { 0 },
            port: transport + if is_reply { 2 } else { 0 },
            sums,
            bytes,
        })
    }

    /// The frame of client number `client`.
    pub fn of(&mut self, client: u32) -> &[u8] {
        let (low, port) = endpoint(client);
        self.bytes[self.address..self.address + 4].copy_from_slice(&low.to_be_bytes());
        self.bytes[self.port..self.port + 2].copy_from_slice(&port.to_be_bytes());
        let words = [low >> 16, low & 0xFFFF, u32::from(port)];
        for ((offset, sum), words) in
            self.sums.iter().zip([&words[..2], &words[..]]).filter_map(|(sum, words)| Some(((*sum)?, words)))
        {
            let sum: u32 = sum + words.iter().sum::<u32>();
            let folded = (sum & 0xFFFF) + (sum >> 16);
            let folded = ((folded & 0xFFFF) + (folded >> 16)) as u16;
            self.bytes[offset..offset + 2].copy_from_slice(&(!folded).to_be_bytes());
        }
        &self.bytes
    }
}

/// Random numbers that cost next to nothing (xorshift64*).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32;
        ((u64::from(bits) * u64::from(bound)) >> 32) as u32
    }
}
