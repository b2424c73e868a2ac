//! A batch gives what its frames give one after the other.

use proptest::prelude::*;
use xswitch::dataplane::{BATCH, Verdict};

use crate::frames::lab::{Lab, Outcome};
use crate::sequences::Pair;
use crate::world::*;

/// So many source ports that none is wanted twice.
const PORTS: u16 = 10_000;
/// The service that shares a backend with another one. Left out: which of two connections has a tuple first is for the
/// order of the tiers to say, not for that of the frames.
const TWIN: usize = 1;

/// Sends `ops` as one batch to `lab`, and one by one to `pair`.
fn check_batch(pair: &mut Pair, lab: &mut Lab, ops: &[Op]) {
    // A reply never lies in one batch with the frame that it answers.
    let known = pair.model.history.len();
    let mut singles = Vec::new();
    for op in ops {
        if let Some((ingress, packet, outcome)) = pair.step(op, known) {
            lab.add(ingress, &packet.build());
            singles.push((packet, outcome));
        }
    }
    let mut singles = singles.into_iter();
    lab.run(|verdict, bytes| {
        let (packet, single) = singles.next().expect("as many come out as went in");
        let together = Outcome { verdict, bytes: bytes.to_vec() };
        assert_eq!(together, single, "{packet:?}");
        assert_ne!(verdict, Verdict::ToKernel);
    });
}

fn without_twin(op: &Op) -> bool {
    !matches!(op, Op::Request { service: TWIN, .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_gives_what_its_frames_give_one_by_one(
        always in any::<bool>(),
        batches in prop::collection::vec(
            (prop::collection::vec(prop_oneof![request(), reply()].prop_filter("twin", without_twin), 1..24), pass()),
            1..20,
        ),
    ) {
        let mut pair = Pair::new(always, PORTS);
        let mut lab = Lab::new(&config(if always { "always" } else { "state" }, PORTS), 1024);
        lab.snapshot.icmp_rate = 0;
        for (ops, pass) in &batches {
            check_batch(&mut pair, &mut lab, &ops[..ops.len().min(BATCH)]);
            pair.step(pass, 0);
            if let Op::Pass(milliseconds) = pass {
                lab.pass(*milliseconds);
            }
        }
        prop_assert_eq!(lab.flows.tables().references(), pair.lab.flows.tables().references());
    }
}
