//! In which order the flows have their turn.

/// A walk through the permutation takes two steps on average, and this many at the most.
const WALK: usize = 64;

/// Odd, so that multiplying by them can be undone.
const FACTORS: [u32; 3] = [0x9E37_79B1, 0x85EB_CA6B, 0x27D4_EB2F];

/// The order of flows. In either case every flow has one turn in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// One after the other.
    #[default]
    Sequential,
    /// In every round in another pseudo-random order, the same in every run: caches and prefetchers see no pattern.
    Random,
}

/// A permutation of `0..flows` for every round, without memory: numbers below the next power of two are mixed by steps that
/// can be undone, and mixed again while they are none of the flows ("cycle walking"). bpf/generate.h does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shuffle {
    flows: u32,
    /// The next power of two less one.
    pub mask: u32,
    /// Half of its bits.
    pub shift: u32,
}

impl Shuffle {
    /// Of `flows` flows, at least one.
    pub fn new(flows: u32) -> Self {
        let mask = u32::MAX.checked_shr((flows.max(2) - 1).leading_zeros()).unwrap_or(0);
        Self { flows, mask, shift: (mask.count_ones() / 2).max(1) }
    }

    /// Which flow has turn `index` of round `round`.
    pub fn flow(&self, index: u32, round: u32) -> u32 {
        let key = round.wrapping_mul(0xC2B2_AE35);
        let mut value = index;
        for _ in 0..WALK {
            value = self.permute(value, key);
            if value < self.flows {
                return value;
            }
        }
        index
    }

    fn permute(&self, value: u32, key: u32) -> u32 {
        let mut value = (value ^ key) & self.mask;
        for factor in FACTORS {
            value = value.wrapping_mul(factor) & self.mask;
            value ^= value >> self.shift;
        }
        value
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    order: Order,
    shuffle: Shuffle,
    index: u32,
    round: u32,
}

impl Turns {
    /// From the first turn of the first round.
    pub fn new(order: Order, flows: u32) -> Self {
        Self { order, shuffle: Shuffle::new(flows), index: 0, round: 0 }
    }

    /// The next flow, and the round.
    pub fn take(&mut self) -> (u32, u32) {
        let (index, round) = (self.index, self.round);
        self.index += 1;
        if self.index >= self.shuffle.flows {
            self.index = 0;
            self.round = self.round.wrapping_add(1);
        }
        let flow = match self.order {
            Order::Sequential => index,
            Order::Random => self.shuffle.flow(index, round),
        };
        (flow, round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_every_round_every_flow_has_one_turn() {
        for order in [Order::Sequential, Order::Random] {
            for flows in [1u32, 2, 3, 5, 16, 17, 100, 1000, 4097] {
                let mut turns = Turns::new(order, flows);
                for round in 0..3 {
                    let mut seen = vec![false; flows as usize];
                    for _ in 0..flows {
                        let (flow, in_round) = turns.take();
                        assert_eq!(in_round, round);
                        assert!(
                            !std::mem::replace(&mut seen[flow as usize], true),
                            "{flow} of {flows} twice"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn random_is_neither_in_order_nor_twice_the_same() {
        let rounds: Vec<Vec<u32>> = (0..9)
            .map(|round| (0..1000).map(|index| Shuffle::new(1000).flow(index, round)).collect())
            .collect();
        for pair in rounds.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        for round in &rounds {
            // Of a thousand in random order, two do on average.
            let neighbors = round.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
            assert!(neighbors < 10, "{neighbors} flows follow their neighbour");
        }
    }

    #[test]
    fn the_mask_is_no_larger_than_it_must_be() {
        for (flows, mask) in
            [(1, 1), (2, 1), (3, 3), (4, 3), (5, 7), (1 << 20, (1 << 20) - 1), (u32::MAX, u32::MAX)]
        {
            assert_eq!(Shuffle::new(flows).mask, mask);
        }
    }
}
