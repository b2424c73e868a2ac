//! Files that `allow_files` and `deny_files` name: one prefix on each line, `#` or `;` begins a comment.
//!
//! A mistake in one is told at its name in the configuration, with the file and its line.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::diagnostic::Findings;
use super::file;
use super::raw::{Files, Listed, Raw};
use super::values::{self, Mistake};

/// Mistakes of one kind that are told; the others are counted.
pub(super) const MOST_TOLD: usize = 3;
/// Prefixes in all files of all lists, each as often as it is named. Each takes some 100 bytes, twice while a reload is judged.
const MOST_LISTED: usize = 1_000_000;
/// Bytes of the longest prefix: `xxxx:` six times, an address of IPv4, and `/128`.
const LONGEST: usize = 6 * 5 + 15 + 4;
const EACH_LINE: &str = "a prefix or an address on each line, and comments after \"#\"";

/// Reads all that are named, each once.
pub(super) fn read(raw: &mut Raw, findings: &mut Findings<'_>) {
    let mut lists = Lists { known: HashMap::new(), room: MOST_LISTED };
    let of_services = raw.services.iter_mut().filter_map(|service| service.acl.as_mut());
    for acl in raw.acl.iter_mut().chain(of_services) {
        acl.allow_listed = lists.gather("allow_files", &acl.allow_files, findings);
        acl.deny_listed = lists.gather("deny_files", &acl.deny_files, findings);
    }
}

/// What is read already, by its name, or why it cannot be; and how many prefixes more there may be.
struct Lists {
    known: HashMap<PathBuf, Rc<Result<List, String>>>,
    room: usize,
}

/// What a file says, by the numbers of its lines.
#[derive(Debug, Default, PartialEq)]
struct List {
    prefixes: Vec<(usize, (IpAddr, u8))>,
    /// The first ones.
    mistakes: Vec<(usize, Mistake)>,
    /// How many there are besides.
    more: usize,
}

impl Lists {
    /// The prefixes of all files under one key. Lists from different places overlap: what is said twice is said.
    fn gather(&mut self, key: &str, files: &Files, findings: &mut Findings<'_>) -> Vec<Listed> {
        let mut seen = HashSet::new();
        let mut listed = Vec::new();
        for file in files.iter().flat_map(|files| files.get_ref()).flatten() {
            let path = file.get_ref();
            let name = path.display();
            let entry = self.known.entry(path.clone());
            let list = Rc::clone(entry.or_insert_with(|| Rc::new(load(path).map(|text| parse(&text)))));
            let list = match list.as_ref() {
                Ok(list) => list,
                Err(why) => {
                    let help =
                        "a file that the switch may read, now and at a reload, with a prefix on each line";
                    findings.error(file.span(), format!("`{key}`: {name}: {why}"), help);
                    continue;
                }
            };
            for (line, mistake) in &list.mistakes {
                let message = format!("`{key}`: {name}:{line}: {}", mistake.message);
                findings.error(file.span(), message, &*mistake.help);
            }
            if list.more > 0 {
                let message = format!("`{key}`: {name}: and {} more mistakes", list.more);
                findings.error(file.span(), message, EACH_LINE);
            }
            if list.prefixes.is_empty() && list.mistakes.is_empty() {
                findings.warning(file.span(), format!("`{key}`: {name} holds no prefix"), EACH_LINE);
            }
            let Some(room) = self.room.checked_sub(list.prefixes.len()) else {
                let message =
                    format!("`{key}`: {name}: more than {MOST_LISTED} prefixes in the files of all lists");
                findings.error(file.span(), message, "what holds for all services belongs into [acl], once");
                return listed;
            };
            self.room = room;
            let source = Rc::new(file.clone());
            let new = list.prefixes.iter().filter(|(_, prefix)| seen.insert(*prefix));
            listed.extend(new.map(|&(line, prefix)| Listed { prefix, file: Rc::clone(&source), line }));
        }
        listed
    }
}

/// Comments may be in whatever encoding.
fn load(path: &Path) -> Result<String, String> {
    let bytes = file::read(path).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads lines until there are more prefixes than there may be.
fn parse(text: &str) -> List {
    let mut list = List::default();
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    for (line, text) in (1..).zip(text.lines()) {
        let said = text.split(['#', ';']).next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        match prefix(said) {
            Ok(prefix) => list.prefixes.push((line, prefix)),
            Err(mistake) if list.mistakes.len() < MOST_TOLD => list.mistakes.push((line, mistake)),
            Err(_) => list.more += 1,
        }
        if list.prefixes.len() > MOST_LISTED {
            break;
        }
    }
    list
}

/// A prefix, or an address by itself. What looks like neither is not shown: it may be a secret, of a file that was named by mistake.
fn prefix(text: &str) -> Result<(IpAddr, u8), Mistake> {
    let belongs = |byte: u8| byte.is_ascii_hexdigit() || b":./".contains(&byte);
    if text.len() > LONGEST || !text.bytes().all(belongs) {
        return Err(Mistake::new("neither a prefix nor an address", EACH_LINE));
    }
    match text.parse::<IpAddr>() {
        Ok(address) => Ok((address, if address.is_ipv4() { 32 } else { 128 })),
        Err(_) => values::network(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_prefix_an_address_or_a_comment() {
        let text =
            "# a feed\r\n203.0.113.0/24 ; SBL1\r\n\n  2001:db8:bad::/48\t# two\n198.51.100.7\n;\n2001:db8::1";
        let prefixes = [
            (2, "203.0.113.0", 24),
            (4, "2001:db8:bad::", 48),
            (5, "198.51.100.7", 32),
            (7, "2001:db8::1", 128),
        ];
        let prefixes = prefixes.map(|(line, address, length)| (line, (address.parse().unwrap(), length)));
        assert_eq!(parse(text), List { prefixes: prefixes.to_vec(), ..List::default() });
        assert_eq!(parse(&format!("\u{FEFF}{}", &text[10..])).prefixes.len(), 4, "an editor's first word");
    }

    #[test]
    fn a_line_that_is_neither_is_named() {
        let list =
            parse("203.0.113.0/24\n203.0.113.7/24\n203.0.113.0/24 DE\nexample.net\n10.0.0.0/33\n10.0.0.1/8");
        let lines: Vec<_> = list.mistakes.iter().map(|(line, _)| *line).collect();
        assert_eq!((list.prefixes.len(), lines, list.more), (1, vec![2, 3, 4], 2));
        assert!(list.mistakes[0].1.message.contains("host bits"), "{list:?}");
        assert!(list.mistakes[1].1.help.contains("comments after"), "{list:?}");
        let secret = parse("root:$y$j9T$\n");
        assert_eq!(secret.mistakes[0].1.message, "neither a prefix nor an address");
        assert_eq!(parse(&"x\n".repeat(1 << 20)).mistakes.len(), MOST_TOLD);
        let longest = "2001:0db8:0bad:0001:0002:0003:198.18.100.100/128";
        assert_eq!((longest.len(), parse(longest).prefixes.len()), (LONGEST - 1, 1));
    }

    #[test]
    fn no_more_is_read_than_there_may_be() {
        let list = parse(&"1::1\n".repeat(MOST_LISTED + 9));
        assert_eq!(list.prefixes.len(), MOST_LISTED + 1);
    }
}
