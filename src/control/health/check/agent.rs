//! What an agent beside a backend says of it: one line of text, sent to whoever connects.
//!
//! ```text
//! line  := { word separator } [ "#" reason ]
//! word  := NUMBER "%" | "up" | "ready" | "down" | "fail" | "failed" | "stopped" | "drain" | "maint"
//! ```
//! Words are separated by blanks and commas. Others than these are left out, so that agents written for other load balancers
//! may say more. Of several wishes the worst counts.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::tcp::{Manner, connect};
use super::{Answer, Failed, Limit, Passed, failed, spoken};
use crate::control::health::{Agent, Wish};

/// Bytes that a line may have.
const LONGEST_LINE: usize = 256;
/// Characters of it that are shown: a table has a column for them.
const SHOWN: usize = 80;

/// Connects and reads a line.
pub async fn check(address: SocketAddr, limit: Limit) -> Answer {
    let asked = Instant::now();
    let mut stream = limit.within("", connect(address, Manner::Talking)).await?;
    let line = limit.within("connected, but ", line(&mut stream)).await?;
    let said = shown(&line);
    let agent = parse(&line).ok_or_else(|| match line.is_empty() {
        true => failed("the agent said nothing"),
        false => failed(format!("the agent said \"{said}\", which means nothing")),
    })?;
    Ok(Passed { agent: Some((agent, said)), ..Passed::since(asked) })
}

/// The line's beginning. It is ASCII.
fn shown(line: &str) -> String {
    line.get(..SHOWN).map_or_else(|| line.to_owned(), |beginning| format!("{beginning}…"))
}

async fn line(stream: &mut (impl AsyncReadExt + Unpin)) -> Result<String, Failed> {
    let mut bytes = [0; LONGEST_LINE];
    let mut length = 0;
    // A line ends with a newline, with the connection, or where there is no more room.
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        let count = stream.read(room).await.map_err(|error| spoken(&error))?;
        length += count;
        if count == 0 || bytes.get(..length).is_some_and(|read| read.contains(&b'\n')) {
            break;
        }
    }
    let line =
        bytes.get(..length).unwrap_or_default().split(|byte| *byte == b'\n').next().unwrap_or_default();
    // It is shown to people: no control characters.
    Ok(line.trim_ascii().escape_ascii().to_string())
}

/// What a line means; none if it means nothing.
pub fn parse(line: &str) -> Option<Agent> {
    let (words, _reason) = line.split_once('#').unwrap_or((line, ""));
    let mut agent = Agent::default();
    for word in words.split([' ', '\t', ',']) {
        let word = word.to_ascii_lowercase();
        if let Some(percent) = word.strip_suffix('%') {
            agent.percent =
                percent.parse::<u32>().ok().map(|percent| percent.min(100) as u8).or(agent.percent);
        }
        let wish = match word.as_str() {
            "up" | "ready" => Wish::Up,
            "drain" => Wish::Drain,
            "down" | "fail" | "failed" | "stopped" => Wish::Down,
            "maint" => Wish::Maint,
            _ => continue,
        };
        agent.wish = agent.wish.into_iter().chain([wish]).max_by_key(|wish| badness(*wish));
    }
    (agent != Agent::default()).then_some(agent)
}

fn badness(wish: Wish) -> u8 {
    match wish {
        Wish::Up => 0,
        Wish::Drain => 1,
        Wish::Down => 2,
        Wish::Maint => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(percent: Option<u8>, wish: Option<Wish>) -> Option<Agent> {
        Some(Agent { percent, wish })
    }

    #[test]
    fn an_agent_says_how_much_it_can_take_and_what_it_wants_to_be() {
        assert_eq!(parse("75%"), agent(Some(75), None));
        assert_eq!(parse("up"), agent(None, Some(Wish::Up)));
        assert_eq!(parse("READY, 50%"), agent(Some(50), Some(Wish::Up)));
        assert_eq!(parse("drain"), agent(None, Some(Wish::Drain)));
        assert_eq!(parse("maint 0%"), agent(Some(0), Some(Wish::Maint)));
        for word in ["down", "fail", "failed", "stopped"] {
            assert_eq!(parse(word), agent(None, Some(Wish::Down)), "{word}");
        }
    }

    #[test]
    fn a_reason_is_for_people() {
        assert_eq!(parse("down#disk full, 100% up"), agent(None, Some(Wish::Down)));
        assert_eq!(parse("fail # up"), agent(None, Some(Wish::Down)));
    }

    #[test]
    fn of_a_long_line_the_beginning_is_shown() {
        assert_eq!(shown("75% #disk"), "75% #disk");
        let long = shown(&"\\xff".repeat(256));
        assert_eq!((long.chars().count(), long.ends_with('…')), (SHOWN + 1, true));
    }

    #[test]
    fn of_several_wishes_the_worst_counts() {
        assert_eq!(parse("up drain ready"), agent(None, Some(Wish::Drain)));
        assert_eq!(parse("drain,down,up,10%"), agent(Some(10), Some(Wish::Down)));
    }

    #[test]
    fn what_is_not_known_is_left_out_and_nothing_else_is_no_answer() {
        assert_eq!(parse("maxconn:30 80%"), agent(Some(80), None));
        assert_eq!(parse("4000%"), agent(Some(100), None));
        for line in ["", "#", "HTTP/1.1 200 OK", "x%", "-5%", "upward"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
