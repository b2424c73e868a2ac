//! What a driver says of its device and what it may be told: ethtool's ioctl (`linux/ethtool.h`).

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Commands without a name in libc.
const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
const GET_INDIRECTION: u32 = 0x38;
const GET_CHANNELS: u32 = 0x3C;

/// Words of `struct ethtool_drvinfo`, and of the name in it, which is the first field.
const DRIVER_WORDS: usize = 49;
const NAME_WORDS: usize = 8;
/// Words of `struct ethtool_channels`.
const CHANNEL_WORDS: usize = 9;
/// Entries of the largest indirection table that is looked at; 2,048 is the largest that any driver has.
const MOST_ENTRIES: u32 = 4096;

/// Work that a device may do in the kernel's or a program's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Checksums of packets that it sends.
    TransmitChecksum,
    /// Cutting TCP segments that it sends.
    SegmentTcp,
    /// Putting received packets together, in software.
    ReceiveMerge,
    /// Putting received packets together, in hardware.
    LargeReceive,
    /// Taking VLAN tags out of received frames.
    StripVlan,
    /// Putting VLAN tags into frames that it sends.
    InsertVlan,
}

/// How a feature is read and written.
enum Way {
    /// With commands of its own: to read, to write.
    Own(u32, u32),
    /// As a bit of the flags.
    Flag(u32),
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::TransmitChecksum,
        Self::SegmentTcp,
        Self::ReceiveMerge,
        Self::LargeReceive,
        Self::StripVlan,
        Self::InsertVlan,
    ];

    /// What `ethtool -K` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TransmitChecksum => "tx",
            Self::SegmentTcp => "tso",
            Self::ReceiveMerge => "gro",
            Self::LargeReceive => "lro",
            Self::StripVlan => "rxvlan",
            Self::InsertVlan => "txvlan",
        }
    }

    const fn way(self) -> Way {
        match self {
            Self::TransmitChecksum => Way::Own(0x16, 0x17),
            Self::SegmentTcp => Way::Own(0x1E, 0x1F),
            Self::ReceiveMerge => Way::Own(0x2B, 0x2C),
            Self::LargeReceive => Way::Flag(1 << 15),
            Self::StripVlan => Way::Flag(1 << 8),
            Self::InsertVlan => Way::Flag(1 << 7),
        }
    }
}

/// How many queues a device has, and how many it could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// Most RX queues, alone or combined with TX queues.
    pub most: u32,
    /// RX queues now.
    pub now: u32,
    /// TX queues now.
    pub tx: u32,
}

/// Asks the devices of the network namespace that the thread was in when this was opened.
#[derive(Debug)]
pub struct Ethtool(UdpSocket);

impl Ethtool {
    /// Opens a socket for it. Any will do; nothing is ever sent.
    pub fn open() -> io::Result<Self> {
        // Binding to port 0 of no address in particular takes no port that anybody misses.
        Ok(Self(UdpSocket::bind(("0.0.0.0", 0))?))
    }

    /// The driver's name: `veth`, `ixgbe`.
    pub fn driver(&self, interface: &str) -> io::Result<String> {
        let mut info = [0; DRIVER_WORDS];
        info[0] = GET_DRIVER;
        self.request(interface, &mut info)?;
        let bytes: Vec<u8> = info[1..=NAME_WORDS].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Whether a feature is on.
    pub fn is_on(&self, interface: &str, feature: Feature) -> io::Result<bool> {
        match feature.way() {
            Way::Own(get, _) => Ok(self.value(interface, get, 0)? != 0),
            Way::Flag(bit) => Ok(self.value(interface, GET_FLAGS, 0)? & bit != 0),
        }
    }

    /// Switches a feature on or off; needs CAP_NET_ADMIN.
    pub fn switch(&self, interface: &str, feature: Feature, on: bool) -> io::Result<()> {
        match feature.way() {
            Way::Own(_, set) => self.value(interface, set, on.into())?,
            Way::Flag(bit) => {
                let flags = self.value(interface, GET_FLAGS, 0)?;
                self.value(interface, SET_FLAGS, if on { flags | bit } else { flags & !bit })?
            }
        };
        // The kernel takes the wish and does what the driver lets it.
        match self.is_on(interface, feature)? == on {
            true => Ok(()),
            false => Err(io::Error::other("the driver does not let it be changed")),
        }
    }

    /// The numbers of queues.
    pub fn channels(&self, interface: &str) -> io::Result<Channels> {
        let mut words = [0; CHANNEL_WORDS];
        words[0] = GET_CHANNELS;
        self.request(interface, &mut words)?;
        let [_, most_rx, _, _, most_both, rx, tx, _, both] = words;
        Ok(Channels { most: most_rx.max(most_both), now: rx + both, tx: tx + both })
    }

    /// The queue of each entry of the RSS indirection table.
    pub fn indirection(&self, interface: &str) -> io::Result<Vec<u32>> {
        // `struct ethtool_rxfh_indir`: command, number of entries, entries. Asked with room for none, it says how many.
        let mut head = [GET_INDIRECTION, 0];
        self.request(interface, &mut head)?;
        let entries = head[1].min(MOST_ENTRIES);
        let mut table = vec![0; 2 + entries as usize];
        (table[0], table[1]) = (GET_INDIRECTION, entries);
        self.request(interface, &mut table)?;
        Ok(table.split_off(2))
    }

    /// `struct ethtool_value`.
    fn value(&self, interface: &str, command: u32, data: u32) -> io::Result<u32> {
        let mut value = [command, data];
        self.request(interface, &mut value)?;
        Ok(value[1])
    }

    /// The kernel reads and writes as much of `words` as the structure of the command in its first word is long: callers
    /// see to it that it is not longer than `words`.
    fn request(&self, interface: &str, words: &mut [u32]) -> io::Result<()> {
        // SAFETY: ifreq is plain data for which all zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let name = interface.as_bytes();
        if name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (place, byte) in request.ifr_name.iter_mut().zip(name) {
            *place = *byte as libc::c_char;
        }
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: `request` is live, its name ends in zero, and its data points to live words that the structure of the
        // command fits in: the constants of this file beside each command say how long it is.
        let done =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut request) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_computes_no_checksums_and_has_no_queues_to_choose() {
        let ethtool = Ethtool::open().unwrap();
        assert!(ethtool.is_on("lo", Feature::TransmitChecksum).unwrap());
        assert!(!ethtool.is_on("lo", Feature::StripVlan).unwrap());
        assert!(ethtool.channels("lo").is_err() && ethtool.indirection("lo").is_err());
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        let ethtool = Ethtool::open().unwrap();
        for name in ["no-such", "a-name-that-is-too-long", ""] {
            assert!(ethtool.driver(name).is_err(), "{name}");
            assert!(Feature::ALL.iter().all(|feature| ethtool.is_on(name, *feature).is_err()));
        }
    }
}
