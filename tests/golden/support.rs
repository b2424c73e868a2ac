//! A case that reads as a sentence.

use xswitch::dataplane::Verdict;
use xswitch::tables::{DropReason, Event, InterfaceId};

use crate::frames::lab::Lab;
use crate::frames::{Arp, Packet};

/// One case: what went before, what arrives, what becomes of it.
pub struct Case {
    pub says: &'static str,
    config: String,
    table: u32,
    before: Vec<(InterfaceId, Vec<u8>)>,
    pause_ms: u64,
    arrives: (InterfaceId, Vec<u8>),
    expected: Expected,
    raises: Option<Event>,
}

/// What must become of the frame.
#[derive(Clone)]
pub enum Expected {
    Leaves(InterfaceId, Packet),
    Answered(InterfaceId, Arp),
    ToKernel,
    Dropped(DropReason),
}

/// Starts a case about a switch of this configuration.
pub fn case(says: &'static str, config: &str) -> Case {
    Case {
        says,
        config: config.to_owned(),
        table: 1024,
        before: Vec::new(),
        pause_ms: 0,
        arrives: (InterfaceId(0), Vec::new()),
        expected: Expected::ToKernel,
        raises: None,
    }
}

impl Case {
    /// A table for so many connections.
    pub fn table(self, connections: u32) -> Self {
        Self { table: connections, ..self }
    }

    /// This arrived, and was forwarded, before.
    pub fn after(mut self, ingress: InterfaceId, packet: &Packet) -> Self {
        self.before.push((ingress, packet.build()));
        self
    }

    /// So much later.
    pub fn after_a_pause(self, pause_ms: u64) -> Self {
        Self { pause_ms, ..self }
    }

    /// The frame in question.
    pub fn arrives(self, ingress: InterfaceId, packet: &Packet) -> Self {
        self.arrives_raw(ingress, packet.build())
    }

    /// The frame in question, as bytes.
    pub fn arrives_raw(self, ingress: InterfaceId, frame: Vec<u8>) -> Self {
        Self { arrives: (ingress, frame), ..self }
    }

    pub fn leaves(self, egress: InterfaceId, packet: Packet) -> Self {
        self.expect(Expected::Leaves(egress, packet))
    }

    pub fn gets_an_answer(self, egress: InterfaceId, arp: Arp) -> Self {
        self.expect(Expected::Answered(egress, arp))
    }

    pub fn stays_with_the_kernel(self) -> Self {
        self.expect(Expected::ToKernel)
    }

    pub fn gets_dropped(self, reason: DropReason) -> Self {
        self.expect(Expected::Dropped(reason))
    }

    fn expect(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }

    /// And the control plane hears of this.
    pub fn raising(self, event: Event) -> Self {
        Self { raises: Some(event), ..self }
    }

    /// Plays the case. What left, and what was expected to.
    pub fn play(&self) -> Option<(Vec<u8>, Expected)> {
        let mut lab = Lab::new(&self.config, self.table);
        // Nothing is said about a dropped frame, so that the reason shows. What would be said is in `icmp`.
        lab.snapshot.icmp_rate = 0;
        for (position, (ingress, frame)) in self.before.iter().enumerate() {
            let outcome = lab.send(*ingress, frame);
            let forwarded = matches!(outcome.verdict, Verdict::Forward(_));
            assert!(forwarded, "{}: frame {position} before it: {:?}", self.says, outcome.verdict);
            lab.pass(1);
        }
        lab.pass(self.pause_ms);
        let (ingress, frame) = &self.arrives;
        let outcome = lab.send(*ingress, frame);
        if let Some(event) = self.raises {
            assert!(lab.events.contains(&event), "{}: {event:?} is not in {:?}", self.says, lab.events);
        }
        let (verdict, leaves) = match &self.expected {
            Expected::Leaves(egress, packet) => (Verdict::Forward(*egress), Some(packet.build())),
            Expected::Answered(egress, arp) => (Verdict::Reply(*egress), Some(arp.build())),
            Expected::ToKernel => (Verdict::ToKernel, None),
            Expected::Dropped(reason) => (Verdict::Drop(*reason), None),
        };
        assert_eq!(outcome.verdict, verdict, "{}", self.says);
        let Some(expected) = leaves else {
            assert_eq!(&outcome.bytes, frame, "{}: a frame that does not leave is not changed", self.says);
            return None;
        };
        assert_eq!(hex(&outcome.bytes), hex(&expected), "{}", self.says);
        Some((outcome.bytes, self.expected.clone()))
    }
}

/// Plays all of them, and fails with the sentences of all that fail.
pub fn play(cases: &[Case]) {
    let failed: Vec<_> = cases
        .iter()
        .filter(|case| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.play())).is_err())
        .map(|case| case.says)
        .collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), cases.len());
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| line.iter().map(|byte| format!(" {byte:02x}")).collect());
    lines.collect::<Vec<String>>().join("\n")
}
