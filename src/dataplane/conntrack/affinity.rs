//! Which client had which server: where new connections of clients that return go.
//!
//! A bounded table that all workers share, eight slots of two words per set. Which client a slot is about stands in the
//! first word, hashed under the boot's secret: two clients that are taken for one, once in 2^61, share a server and no more.
//!
//! | word | 0 | 24 | 32 |
//! |---|---|---|---|
//! | client | hash of group and masked address; 0 is nobody | | |
//! | server | until when, in seconds (24 bits) | tag: 8 bits of the hash | number of the server (32 bits) |
//!
//! Both words change by compare-and-swap, the client first. A server that was written for another client has another tag and
//! says nothing, so whoever finds a slot between the two steps takes it for empty and may take the second step himself.
//! Of two workers that see a new client at once, the first one's server counts.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::huge;
use crate::tables::{Affinity, Coarse};

use super::key::Secret;

/// Slots per set: two cache lines.
const WAYS: usize = 8;
/// Tries where others change the same set at the same time.
const TRIES: usize = 8;
/// Coarse units to a second of this table: 16 × 64 ms = 1.024 s.
const SECOND: u32 = 16;
/// Times are told apart within 2^24 s = 198 days, in both directions from now.
const TIMES: u32 = 1 << 24;
/// The longest time for which anything is remembered: a quarter of that, 49 days.
const LONGEST: u32 = TIMES / 4;

#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Set([[AtomicU64; 2]; WAYS]);

/// The clients.
#[derive(Debug)]
pub struct Affinities {
    sets: Box<[Set]>,
}

/// What a client of one group is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(u64);

impl Client {
    /// The client at `address`, as far as this affinity tells clients apart.
    pub fn of(address: IpAddr, affinity: &Affinity, secret: &Secret) -> Self {
        let prefixes = [affinity.prefix_v4, affinity.prefix_v6];
        Self(secret.hash_client(address, prefixes, u64::from(affinity.group)).max(1))
    }

    fn tag(self) -> u64 {
        self.0 & 0xFF
    }
}

/// Until when something counts, and whose server it is.
#[derive(Debug, Clone, Copy)]
struct Word(u64);

impl Word {
    fn new(client: Client, server: u32, until: u32) -> Self {
        Self(u64::from(server) << 32 | client.tag() << 24 | u64::from(until % TIMES))
    }

    fn server(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn is_of(self, client: Client) -> bool {
        self.0 >> 24 & 0xFF == client.tag()
    }

    /// Seconds that it still counts; 0 once it does not.
    fn rest(self, now: u32) -> u32 {
        let rest = (self.0 as u32).wrapping_sub(now) % TIMES;
        if rest > LONGEST { 0 } else { rest }
    }
}

fn seconds(now: Coarse) -> u32 {
    now.0 / SECOND
}

impl Affinities {
    /// Room for so many clients, rounded up to a multiple of eight. Allocates everything.
    pub fn new(clients: u32) -> Self {
        let sets = (clients as usize).div_ceil(WAYS).max(1);
        Self { sets: huge::filled(sets, |_| Set::default()) }
    }

    fn set(&self, client: Client) -> &[[AtomicU64; 2]; WAYS] {
        &self.sets[((u128::from(client.0) * self.sets.len() as u128) >> 64) as usize].0
    }

    /// The server that a client had, while that counts.
    pub fn find(&self, client: Client, now: Coarse) -> Option<u32> {
        let now = seconds(now);
        self.set(client).iter().find_map(|[whose, word]| {
            let mine = whose.load(Ordering::Acquire) == client.0;
            let word = Word(word.load(Ordering::Acquire));
            (mine && word.is_of(client) && word.rest(now) > 0).then(|| word.server())
        })
    }

    /// Remembers that a client has `server` for `timeout` coarse units from now on, where it had `before`. Which server
    /// counts: another worker may have said so first.
    pub fn remember(
        &self,
        client: Client,
        server: u32,
        before: Option<u32>,
        (now, timeout): (Coarse, u32),
    ) -> u32 {
        let now = seconds(now);
        // The second under way does not count.
        let until = now.wrapping_add(timeout.div_ceil(SECOND).saturating_add(1).min(LONGEST));
        let wanted = Word::new(client, server, until);
        let set = self.set(client);
        for _ in 0..TRIES {
            let Some([_, word]) = set.iter().find(|[whose, _]| whose.load(Ordering::Acquire) == client.0)
            else {
                take(set, client, now);
                continue;
            };
            let seen = Word(word.load(Ordering::Acquire));
            let counts = seen.is_of(client) && seen.rest(now) > 0;
            if counts && seen.server() != server && Some(seen.server()) != before {
                return seen.server();
            }
            let written = seen.0 == wanted.0
                || word.compare_exchange(seen.0, wanted.0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if written {
                break;
            }
        }
        server
    }

    /// Forgets that a client has `server`: the connection for which that was said did not come about.
    pub fn forget(&self, client: Client, server: u32) {
        for [whose, word] in self.set(client) {
            let seen = Word(word.load(Ordering::Acquire));
            if whose.load(Ordering::Acquire) == client.0 && seen.is_of(client) && seen.server() == server {
                let _ = word.compare_exchange(seen.0, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }
}

/// Takes a slot for `client`: that which says nothing any more, or else will do so first. Not another one where somebody
/// else has taken one meanwhile.
fn take(set: &[[AtomicU64; 2]; WAYS], client: Client, now: u32) {
    let rest = |[whose, word]: &[AtomicU64; 2]| {
        let whose = Client(whose.load(Ordering::Acquire));
        let word = Word(word.load(Ordering::Acquire));
        let rest = match whose {
            whose if whose == client => -1,
            Client(0) => 0,
            whose if word.is_of(whose) => i64::from(word.rest(now)),
            _ => 0,
        };
        (rest, whose.0)
    };
    let least = set.iter().map(|slot| (rest(slot), slot)).min_by_key(|((rest, _), _)| *rest);
    if let Some(((_, seen), [whose, _])) = least {
        let _ = whose.compare_exchange(seen, client.0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    const MINUTE: u32 = Coarse::from_seconds(60);

    fn affinity(group: u32) -> Affinity {
        Affinity { group, timeout: MINUTE, prefix_v4: 32, prefix_v6: 64, servers: Box::new([]) }
    }

    fn client(address: &str) -> Client {
        Client::of(address.parse().unwrap(), &affinity(1), &Secret::from_seed(1))
    }

    #[test]
    fn a_client_is_its_prefix_within_its_group() {
        let secret = Secret::from_seed(1);
        let of = |address: &str, affinity: &Affinity| Client::of(address.parse().unwrap(), affinity, &secret);
        let wide = Affinity { prefix_v4: 24, prefix_v6: 0, ..affinity(1) };
        assert_eq!(of("203.0.113.9", &wide), of("203.0.113.200", &wide));
        assert_ne!(of("203.0.113.9", &wide), of("203.0.114.9", &wide));
        assert_ne!(of("203.0.113.9", &affinity(1)), of("203.0.113.8", &affinity(1)));
        assert_ne!(of("203.0.113.9", &affinity(1)), of("203.0.113.9", &affinity(2)));
        assert_eq!(of("2001:db8::1", &affinity(1)), of("2001:db8::ffff:1", &affinity(1)));
        assert_ne!(of("2001:db8::1", &affinity(1)), of("2001:db8:0:1::1", &affinity(1)));
        assert_eq!(of("2001:db8::1", &wide), of("fd00::1", &wide), "all are one");
        let all = Affinity { prefix_v4: 0, ..affinity(1) };
        assert_eq!(of("203.0.113.9", &all), of("10.0.0.1", &all));
    }

    #[test]
    fn it_is_remembered_for_its_time_after_the_last_connection() {
        let (table, client) = (Affinities::new(64), client("203.0.113.9"));
        assert_eq!(table.find(client, Coarse(0)), None);
        assert_eq!(table.remember(client, 7, None, (Coarse(0), MINUTE)), 7);
        assert_eq!(table.find(client, Coarse(MINUTE)), Some(7), "never too short");
        assert_eq!(table.find(client, Coarse(MINUTE + 3 * SECOND)), None);
        table.remember(client, 7, Some(7), (Coarse(MINUTE), MINUTE));
        assert_eq!(table.find(client, Coarse(2 * MINUTE)), Some(7));
        table.forget(client, 8);
        assert_eq!(table.find(client, Coarse(2 * MINUTE)), Some(7));
        table.forget(client, 7);
        assert_eq!(table.find(client, Coarse(2 * MINUTE)), None);
    }

    #[test]
    fn who_comes_second_gets_the_first_ones_server_unless_it_is_gone() {
        let (table, client) = (Affinities::new(64), client("2001:db8::1"));
        assert_eq!(table.remember(client, 7, None, (Coarse(5), MINUTE)), 7);
        assert_eq!(table.remember(client, 9, None, (Coarse(5), MINUTE)), 7);
        assert_eq!(table.remember(client, 9, Some(7), (Coarse(5), MINUTE)), 9, "7 takes no more");
        assert_eq!(table.find(client, Coarse(6)), Some(9));
    }

    #[test]
    fn a_full_set_gives_up_what_is_oldest() {
        let table = Affinities::new(8);
        let clients: Vec<_> = (0..9).map(|host| client(&format!("203.0.113.{host}"))).collect();
        for (position, client) in clients.iter().enumerate() {
            table.remember(*client, 7, None, (Coarse(position as u32 * SECOND), MINUTE));
        }
        let now = Coarse(9 * SECOND);
        assert_eq!(table.find(clients[0], now), None);
        assert!(clients[1..].iter().all(|client| table.find(*client, now) == Some(7)));
    }

    #[test]
    fn what_has_expired_goes_first_whenever_it_was_written() {
        let table = Affinities::new(8);
        let clients: Vec<_> = (0..9).map(|host| client(&format!("203.0.113.{host}"))).collect();
        for client in &clients[..8] {
            let timeout = if *client == clients[5] { SECOND } else { MINUTE };
            table.remember(*client, 7, None, (Coarse(0), timeout));
        }
        let now = Coarse(10 * SECOND);
        table.remember(clients[8], 7, None, (now, MINUTE));
        let there: Vec<_> = clients.iter().map(|client| table.find(*client, now).is_some()).collect();
        assert_eq!(there, [true, true, true, true, true, false, true, true, true]);
    }

    #[test]
    fn workers_that_race_for_a_new_client_agree_on_its_server() {
        const ROUNDS: u32 = 20_000;
        let table = Affinities::new(64);
        let barrier = Barrier::new(2);
        let said: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let run = |worker: u32| {
                let (table, barrier) = (&table, &barrier);
                move || {
                    let secret = Secret::from_seed(1);
                    (0..ROUNDS)
                        .map(|round| {
                            let address = std::net::Ipv4Addr::from(round).into();
                            let client = Client::of(address, &affinity(1), &secret);
                            barrier.wait();
                            table.remember(client, 10 + worker, None, (Coarse(round * 16), MINUTE))
                        })
                        .collect()
                }
            };
            let threads = [scope.spawn(run(0)), scope.spawn(run(1))];
            threads.map(|thread| thread.join().unwrap()).into()
        });
        assert_eq!(said[0], said[1]);
        assert!(said[0].contains(&10) || said[0].contains(&11));
    }
}
