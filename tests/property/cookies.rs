//! Connections that SYN cookies open, between two plain models of TCP over networks that lose and reorder: what one end sends
//! is what the other gets, whatever the two understand and wherever their numbers wrap.

mod end;

use proptest::prelude::*;
use xswitch::dataplane::Verdict;
use xswitch::tables::InterfaceId;

use crate::frames::lab::Lab;
use crate::frames::network::{ETH0, ETH1, SWITCH0, SWITCH1};
use crate::frames::segments::Segment;
use crate::frames::{ACK, Mac, SYN};
use end::{End, Offers};

const CLIENT: Mac = [2, 0, 0, 0, 1, 7];
const BACKEND: Mac = [2, 0, 0, 0, 3, 11];
/// A step of the simulation, in milliseconds.
const STEP_MS: u64 = 10;
/// Steps within which everything must have arrived: a hundred retransmissions.
const STEPS: u64 = 20_000;

/// Addresses of VIP, client and backend, by family.
const PLACES: [[&str; 3]; 2] = [
    ["198.18.0.100:80", "198.18.0.7:40000", "198.18.1.11:8080"],
    ["[2001:db8::100]:80", "[2001:db8::7]:40000", "[2001:db8:1::11]:8080"],
];

fn config([vip, _, backend]: [&str; 3], forwarding: &str) -> String {
    format!(
        r#"
[switch]
interfaces = ["eth0", "eth1"]
snat_addresses = ["198.18.1.2", "2001:db8:1::2"]
snat_ports = "20000-20100"
[[service]]
name = "web"
vip = "{vip}"
forwarding = "{forwarding}"
syn_cookies = "always"
[[service.backend]]
address = "{backend}"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["198.18.0.2/24", "2001:db8::2/64"]
[[interface]]
name = "eth1"
mac = "02:00:00:00:00:02"
addresses = ["198.18.1.1/24", "2001:db8:1::1/64"]
[[neighbor]]
interface = "eth0"
address = "198.18.0.7"
mac = "02:00:00:00:01:07"
[[neighbor]]
interface = "eth0"
address = "2001:db8::7"
mac = "02:00:00:00:01:07"
[[neighbor]]
interface = "eth1"
address = "198.18.1.11"
mac = "02:00:00:00:03:0b"
[[neighbor]]
interface = "eth1"
address = "2001:db8:1::11"
mac = "02:00:00:00:03:0b"
"#
    )
}

#[derive(Debug, Clone)]
struct World {
    family: usize,
    forwarding: &'static str,
    client: Offers,
    backend: Offers,
    /// Frames of a hundred that are lost, and that come later than the next.
    lost: u32,
    late: u32,
    seed: u64,
    upload: usize,
    download: usize,
}

fn offers() -> impl Strategy<Value = Offers> {
    // Numbers that wrap soon, as often as not.
    let first = prop_oneof![any::<u32>(), Just(u32::MAX), u32::MAX - 5000..u32::MAX];
    let said = (
        prop::option::weighted(0.9, 536u16..2000),
        prop::option::of(0u8..15),
        any::<bool>(),
        prop::bool::weighted(0.7),
        any::<bool>(),
    );
    (first, said, any::<u32>()).prop_map(|(first, (mss, scale, sack, timestamps, ecn), clock)| Offers {
        first,
        mss,
        scale,
        sack,
        timestamps,
        ecn,
        clock,
    })
}

fn world() -> impl Strategy<Value = World> {
    let network = (0..20u32, 0..20u32, any::<u64>());
    let way = (0..2usize, prop_oneof![Just("nat"), Just("full-nat")]);
    (way, offers(), offers(), network, 1..20_000usize, 0..20_000usize).prop_map(
        |((family, forwarding), client, backend, (lost, late, seed), upload, download)| World {
            family,
            forwarding,
            client,
            backend,
            lost,
            late,
            seed,
            upload,
            download,
        },
    )
}

/// As splitmix64 has it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }

    fn percent(&mut self) -> u32 {
        (self.next() % 100) as u32
    }
}

/// A network in between: frames that are on their way to the switch, or from it.
struct Wire {
    random: Random,
    lost: u32,
    late: u32,
    frames: Vec<Vec<u8>>,
}

impl Wire {
    fn new(world: &World, number: u64) -> Self {
        let random = Random(world.seed.wrapping_add(number << 32));
        Self { random, lost: world.lost, late: world.late, frames: Vec::new() }
    }

    fn put(&mut self, frame: Vec<u8>) {
        if self.random.percent() >= self.lost {
            self.frames.push(frame);
        }
    }

    /// What arrives in this step.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let (mut arrives, mut stays) = (Vec::new(), Vec::new());
        for frame in self.frames.drain(..) {
            let late = self.random.percent() < self.late;
            if late { stays.push(frame) } else { arrives.push(frame) }
        }
        self.frames = stays;
        arrives
    }
}

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length).map(|_| random.next() as u8).collect()
}

fn play(world: &World) {
    let places = PLACES[world.family];
    let mut lab = Lab::new(&config(places, world.forwarding), 1024);
    lab.now = lab.now.after(world.seed % 100_000_000);
    let [vip, own, backend] = places.map(|place| place.parse().unwrap());
    let mut client = End::client([CLIENT, SWITCH0], (own, vip), world.client, bytes(world.upload, 1));
    let mut server = End::server([BACKEND, SWITCH1], backend, world.backend, bytes(world.download, 2));
    let mut wires: Vec<_> = (0..4).map(|number| Wire::new(world, number)).collect();
    for step in 0..STEPS {
        client.run(step).into_iter().for_each(|segment| wires[0].put(segment.build()));
        server.run(step).into_iter().for_each(|segment| wires[1].put(segment.build()));
        for (wire, ingress) in [(0, ETH0), (1, ETH1)] {
            for frame in wires[wire].take() {
                for outcome in lab.send_all(ingress, &[frame]) {
                    if let Some(wire) = leaves(outcome.verdict) {
                        wires[wire].put(outcome.bytes);
                    }
                }
            }
        }
        wires[2].take().into_iter().for_each(|frame| client.hear(&Segment::read(&frame), step));
        wires[3].take().into_iter().for_each(|frame| server.hear(&Segment::read(&frame), step));
        if client.is_done(world.download) && server.is_done(world.upload) {
            assert!(client.received == server.data && server.received == client.data, "what was sent");
            return;
        }
        lab.pass(STEP_MS);
    }
    panic!("not all arrived: {client:?} {server:?} {:?}", lab.counters);
}

/// The wire by which a frame leaves.
fn leaves(verdict: Verdict) -> Option<usize> {
    const TO_CLIENT: InterfaceId = ETH0;
    match verdict {
        Verdict::Forward(TO_CLIENT) | Verdict::Reply(TO_CLIENT) => Some(2),
        Verdict::Forward(_) | Verdict::Reply(_) => Some(3),
        Verdict::Drop(_) => None,
        Verdict::ToKernel => panic!("the kernel has no part in this"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_one_end_sends_the_other_gets(world in world()) {
        play(&world);
    }

    #[test]
    fn whatever_comes_back_without_a_cookie_opens_nothing(
        numbers in prop::collection::vec(any::<[u32; 2]>(), 1..100), family in 0..2usize,
    ) {
        let places = PLACES[family];
        let mut lab = Lab::new(&config(places, "nat"), 1024);
        let syn = Segment::new([CLIENT, SWITCH0], places[1], places[0], SYN);
        prop_assert!(matches!(lab.send(ETH0, &syn.build()).verdict, Verdict::Reply(_)));
        for [sequence, acknowledgment] in numbers {
            let forged = Segment { sequence, acknowledgment, flags: ACK, ..syn.clone() };
            prop_assert!(matches!(lab.send(ETH0, &forged.build()).verdict, Verdict::Drop(_)));
        }
        prop_assert_eq!(lab.counters.connections_new.get(), 0);
    }
}
