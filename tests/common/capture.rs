//! tcpdump at a host, judged by tshark.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::namespace::Namespace;
use super::process::Background;
use super::wait::wait_until;

/// Most frames of one capture: about 100 MB of full-sized ones.
const FRAMES_MAX: u32 = 60_000;

/// Makes tshark verify what it leaves alone by default, and take payloads for what they are: full NAT chooses ports in
/// which it would see other protocols, malformed.
const VERIFY: &str = "-n -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE \
                      -d udp.port==1024-65535,data -d tcp.port==1024-65535,data";

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Background,
    file: PathBuf,
}

impl Capture {
    /// Starts capturing whole frames at an interface of a host; returns once tcpdump listens.
    pub fn start(host: &Namespace, interface: &str, directory: &Path) -> Self {
        let file = directory.join(format!("{}-{interface}.pcap", host.name()));
        // Immediate: else the last second of frames is still in the kernel when tcpdump is told to stop.
        let line = format!(
            "tcpdump -i {interface} -Z root -n -U --immediate-mode -B 32768 -s 2048 -c {FRAMES_MAX} -w {}",
            file.display()
        );
        let tcpdump = host.spawn(&line, &file.with_extension("log"));
        wait_until("tcpdump listens", Duration::from_secs(10), || tcpdump.log().contains("listening on"));
        Self { tcpdump, file }
    }

    /// Whether such a frame has come so far.
    pub fn has(&self, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
        has(&self.file, is_wanted)
    }

    /// Stops it and returns the file for judgement.
    pub fn stop(mut self) -> Frames {
        self.tcpdump.signal(Signal::INT);
        let code = self.tcpdump.wait_for_end(Duration::from_secs(10));
        assert_eq!(code, 0, "tcpdump failed: {}", self.tcpdump.log());
        Frames { file: self.file }
    }
}

/// What is written up to now ends wherever tcpdump stands, maybe in the middle of a record.
fn has(file: &Path, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    let file = std::fs::File::open(file).expect("the capture can be read");
    let Ok(mut reader) = pcap_file::pcap::PcapReader::new(file) else { return false };
    while let Some(Ok(packet)) = reader.next_packet() {
        if is_wanted(&packet.data) {
            return true;
        }
    }
    false
}

/// A finished capture.
#[derive(Debug, Clone)]
pub struct Frames {
    file: PathBuf,
}

impl Frames {
    /// Number of frames that match a display filter of tshark.
    pub fn count(&self, filter: &str) -> usize {
        self.list(filter, "frame.number").len()
    }

    /// One field of every frame that matches.
    pub fn list(&self, filter: &str, field: &str) -> Vec<String> {
        let output = std::process::Command::new("timeout")
            .args(["120", "tshark", "-r"])
            .arg(&self.file)
            .args(VERIFY.split_whitespace())
            .args(["-Y", filter, "-T", "fields", "-e", field])
            .output()
            .expect("tshark can be started");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tshark {filter}: {complaint}");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Whether a frame with exactly these bytes came.
    pub fn contains(&self, frame: &[u8]) -> bool {
        has(&self.file, |other| other == frame)
    }

    /// Panics if a checksum is wrong, a frame is malformed, or there are no checksums to look at.
    pub fn assert_clean(&self) {
        // Linux writes a TCP checksum of 0x0000 as 0xffff when it computes it in software. Both verify, but tshark
        // knows only the one.
        // What an ICMP error quotes is cut, and its checksum is of the whole.
        let bad = "ip.checksum.status == 0 \
                   || (tcp.checksum.status == 0 && tcp.checksum != 0xffff && !icmp && !icmpv6) \
                   || (udp.checksum.status == 0 && !icmp && !icmpv6) || icmp.checksum.status == 0 || icmpv6.checksum.status == 0 \
                   || _ws.malformed";
        let summary = self.list(bad, "_ws.col.Info");
        assert!(summary.is_empty(), "{} bad frames in {}: {summary:?}", summary.len(), self.file.display());
        let good = self.count(
            "tcp.checksum.status == 1 || udp.checksum.status == 1 || icmp.checksum.status == 1 \
             || icmpv6.checksum.status == 1",
        );
        assert!(good > 0, "tshark verified no checksum in {}", self.file.display());
    }
}
