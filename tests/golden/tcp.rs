//! The life of a TCP connection as it shows in where frames go: the service has two backends in turn.

use xswitch::tables::DropReason;

use crate::frames::network::*;
use crate::frames::{ACK, Checksum, FIN, PSH, Packet, RST, SEQUENCE, SYN, URG, tcp};
use crate::support::{Case, case, play};

const VIP: &str = "198.18.0.100:80";
const CLIENT: &str = "198.18.0.7:40000";
const FIRST: &str = "198.18.1.11:8080";
const SECOND: &str = "198.18.1.12:8080";

fn switch() -> String {
    [SWITCH, &service("web", VIP, "tcp", "nat", &[(FIRST, 1), (SECOND, 1)]), NETWORK].concat()
}

fn request(flags: u8) -> Packet {
    tcp(CLIENT, VIP, flags).in_at_eth0_from(CLIENT7)
}

fn reply(flags: u8) -> Packet {
    tcp(FIRST, CLIENT, flags).in_at_eth1_from(BACKEND11)
}

fn to_first(flags: u8) -> Packet {
    tcp(CLIENT, FIRST, flags).out_of_eth1_to(BACKEND11).ttl(63)
}

fn to_second(flags: u8) -> Packet {
    tcp(CLIENT, SECOND, flags).out_of_eth1_to(BACKEND12).ttl(63)
}

fn established(says: &'static str) -> Case {
    case(says, &switch()).after(ETH0, &request(SYN)).after(ETH1, &reply(SYN | ACK)).after(ETH0, &request(ACK))
}

fn closed(says: &'static str) -> Case {
    established(says)
        .after(ETH0, &request(FIN | ACK))
        .after(ETH1, &reply(FIN | ACK))
        .after(ETH0, &request(ACK))
}

pub fn cases() -> Vec<Case> {
    let switch = &switch();
    let mut cases = vec![
        case("a repeated SYN goes to the same backend", switch)
            .after(ETH0, &request(SYN))
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_first(SYN)),
        case("a SYN from another port goes to the next backend", switch)
            .after(ETH0, &request(SYN))
            .arrives(ETH0, &tcp("198.18.0.7:40001", VIP, SYN).in_at_eth0_from(CLIENT7))
            .leaves(ETH1, tcp("198.18.0.7:40001", SECOND, SYN).out_of_eth1_to(BACKEND12).ttl(63)),
        case("a segment without a connection is dropped", switch)
            .arrives(ETH0, &request(ACK))
            .gets_dropped(DropReason::NoConnection),
        case("a SYN+ACK from a client without a connection is dropped", switch)
            .arrives(ETH0, &request(SYN | ACK))
            .gets_dropped(DropReason::NoConnection),
        case("a reset without a connection is dropped", switch)
            .arrives(ETH0, &request(RST))
            .gets_dropped(DropReason::NoConnection),
        case("a backend's segment without a connection is dropped", switch)
            .arrives(ETH1, &reply(ACK))
            .gets_dropped(DropReason::NoConnection),
        established("a SYN in the middle of a connection goes where the connection goes")
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_first(SYN)),
        established("a half-closed connection still carries data")
            .after(ETH0, &request(FIN | ACK))
            .arrives(ETH1, &reply(ACK | PSH).payload(b"the rest"))
            .leaves(ETH0, tcp(VIP, CLIENT, ACK | PSH).out_of_eth0_to(CLIENT7).ttl(63).payload(b"the rest")),
        closed("the last ACK of a closed connection still arrives")
            .arrives(ETH0, &request(ACK))
            .leaves(ETH1, to_first(ACK)),
        closed("a SYN on a connection in TIME-WAIT starts a new one, with the next backend")
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_second(SYN)),
        closed("a damaged SYN starts nothing anew")
            .arrives(ETH0, &request(SYN).checksum(Checksum::WrongBy(1)))
            .gets_dropped(DropReason::L4Checksum),
        established("a reset goes through")
            .arrives(ETH1, &reply(RST | ACK))
            .leaves(ETH0, tcp(VIP, CLIENT, RST | ACK).out_of_eth0_to(CLIENT7).ttl(63)),
        established("after a reset a SYN starts anew, with the next backend")
            .after(ETH1, &reply(RST | ACK))
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_second(SYN)),
        established("a reset far from where the connection stands goes through but is not believed")
            .after(ETH1, &reply(RST | ACK).sequence(SEQUENCE.wrapping_add(1 << 30)))
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_first(SYN)),
        case("a backend that refuses a connection leaves the port to a new one", switch)
            .after(ETH0, &request(SYN))
            .after(ETH1, &reply(RST | ACK).sequence(0))
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_second(SYN)),
        case("a reset that does not acknowledge the SYN refuses nothing", switch)
            .after(ETH0, &request(SYN))
            .after(ETH1, &reply(RST))
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_first(SYN)),
        case("a reset that acknowledges nothing refuses nothing, whatever number the SYN had", switch)
            .after(ETH0, &request(SYN).sequence(u32::MAX))
            .after(ETH1, &reply(RST))
            .arrives(ETH0, &request(SYN))
            .leaves(ETH1, to_first(SYN)),
        established(
            "data that was under way when the client sent a reset goes through, and a SYN then starts anew",
        )
        .after(ETH0, &request(RST))
        .after(ETH1, &reply(ACK))
        .arrives(ETH0, &request(SYN))
        .leaves(ETH1, to_second(SYN)),
        established("FIN, PSH and URG together are strange but a real stack may send them")
            .arrives(ETH0, &request(FIN | PSH | URG | ACK))
            .leaves(ETH1, to_first(FIN | PSH | URG | ACK)),
    ];
    for flags in [SYN | FIN, SYN | RST, SYN | FIN | ACK, 0, PSH | URG] {
        cases.push(
            case("flags that no stack sends together start nothing", switch)
                .arrives(ETH0, &request(flags))
                .gets_dropped(DropReason::TcpFlags),
        );
        cases.push(
            established("flags that no stack sends together are dropped within a connection, too")
                .arrives(ETH0, &request(flags))
                .gets_dropped(DropReason::TcpFlags),
        );
    }
    cases
}

#[test]
fn tcp_connections() {
    play(&cases());
}
