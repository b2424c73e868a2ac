//! The largest segment size that both ends are told.

use xswitch::dataplane::Verdict;

use super::world::*;
use crate::frames::flow::Flow;
use crate::frames::lab::Lab;
use crate::frames::network::*;
use crate::frames::{ACK, SYN, TCP};

/// The option, alone and at an odd place among others.
fn options(size: u16) -> [Vec<u8>; 2] {
    let [high, low] = size.to_be_bytes();
    [vec![2, 4, high, low], vec![1, 2, 4, high, low, 4, 2, 1, 3, 3, 7, 1]]
}

fn lab(clamp: &'static str, mtu: [usize; 2]) -> Lab {
    let world = World { service: clamp, ..World::default() };
    let mut config = world.config();
    for (number, mtu) in mtu.into_iter().enumerate() {
        let name = format!("name = \"eth{number}\"\nmac");
        config = config.replacen(&name, &name.replace("\nmac", &format!("\nmtu = {mtu}\nmac")), 1);
    }
    Lab::new(&config, 1024)
}

/// Sends a SYN that announces `size`. The backend must be told `told`. And so the other way. What left.
fn announce(lab: &mut Lab, row: Row, size: u16, told: u16) -> Vec<Vec<u8>> {
    let world = World::default();
    let mut left = Vec::new();
    for (before, after) in options(size).iter().zip(&options(told)) {
        let request = |options: &[u8]| first(row).tcp_options(options);
        let outcome = lab.send(ETH0, &request(before).frame(CLIENT7, SWITCH0));
        assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{}", row.says());
        let delivered = row.delivered(&request(after), &outcome.bytes[14..]);
        same(&row.says(), &outcome, &world.leaving(ETH1, BACKEND11, &delivered));
        left.push(outcome.bytes);
        if !row.replies_come_back() {
            continue;
        }
        let reply = |options: &[u8]| row.reply(SYN | ACK).tcp_options(options);
        let outcome = lab.send(ETH1, &reply(before).frame(BACKEND11, SWITCH1));
        assert_eq!(outcome.verdict, Verdict::Forward(ETH0), "{}", row.says());
        let expected = reply(after).routed().between(row.vip(), row.client()).frame(SWITCH0, CLIENT7);
        same(&row.says(), &outcome, &expected);
        left.push(outcome.bytes);
    }
    left
}

fn rows_of_tcp() -> impl Iterator<Item = Row> {
    rows().into_iter().filter(|row| row.protocol == TCP && row.mode != "dsr")
}

/// IP and TCP headers of the client's packets.
fn headers(row: Row) -> usize {
    if row.client == V4 { 40 } else { 60 }
}

/// Plays each case for every row. What left.
fn all() -> Vec<(String, Vec<u8>)> {
    let mut left = Vec::new();
    for row in rows_of_tcp() {
        let fits = |mtu: usize| (mtu - row.overhead() - headers(row)) as u16;
        let direct = |mtu: usize| (mtu - headers(row)) as u16;
        for (clamp, mtu, size, told) in [
            ("", [1500, 1500], 1460, 1460),
            ("mss_clamp = \"off\"", [1500, 1400], 9000, 9000),
            ("mss_clamp = 1300", [1500, 1500], 1460, 1300),
            ("mss_clamp = 1300", [1500, 1500], 1301, 1300),
            ("mss_clamp = 1300", [1500, 1500], 1300, 1300),
            ("mss_clamp = 1300", [1500, 1500], 536, 536),
            ("mss_clamp = \"auto\"", [1500, 1500], 9000, fits(1500)),
            ("mss_clamp = \"auto\"", [1500, 1400], 1460, fits(1400)),
            ("mss_clamp = \"auto\"", [1400, 1500], 1460, fits(1500).min(direct(1400))),
            ("mss_clamp = \"auto\"", [1500, 1500], 1000, 1000),
        ] {
            let frames = announce(&mut lab(clamp, mtu), row, size, told);
            left.extend(frames.into_iter().map(|frame| (format!("{}, {clamp}", row.says()), frame)));
        }
    }
    left
}

pub fn left() -> Vec<(String, Vec<u8>)> {
    all()
}

#[test]
fn syn_and_syn_ack_announce_no_more_than_was_configured_or_fits() {
    assert!(all().len() > 200);
}

#[test]
fn a_segment_without_syn_or_without_the_option_keeps_what_it_has() {
    for row in rows_of_tcp() {
        let (world, mut lab) = (World::default(), lab("mss_clamp = 536", [1500, 1500]));
        deliver(&world, &mut lab, row, &first(row));
        deliver(&world, &mut lab, row, &first(row).tcp_options(&[1, 3, 3, 7]));
        let ack = Flow { flags: ACK, ..first(row) };
        deliver(&world, &mut lab, row, &ack.tcp_options(&options(1460)[0]));
    }
}
