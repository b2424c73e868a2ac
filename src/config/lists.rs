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

/// Lines of files that are told to be wrong; the others are counted.
pub(super) const MOST_TOLD: usize = 3;

/// Reads all that are named, each once.
pub(super) fn read(raw: &mut Raw, findings: &mut Findings<'_>) {
    let mut known = Known::new();
    let of_services = raw.services.iter_mut().filter_map(|service| service.acl.as_mut());
    for acl in raw.acl.iter_mut().chain(of_services) {
        acl.allow_listed = gather("allow_files", &acl.allow_files, &mut known, findings);
        acl.deny_listed = gather("deny_files", &acl.deny_files, &mut known, findings);
    }
}

/// Bytes of the longest prefix: `xxxx:` seven times, an address of IPv4 in place of the last two, and `/128`.
const LONGEST: usize = 6 * 5 + 15 + 4;

/// What is read already, by its name; or why it cannot be.
type Known = HashMap<PathBuf, Rc<Result<List, String>>>;

/// What a file says, by the numbers of its lines.
#[derive(Debug, Default, PartialEq)]
struct List {
    prefixes: Vec<(usize, (IpAddr, u8))>,
    mistakes: Vec<(usize, Mistake)>,
}

/// The prefixes of all files under one key. Lists from different places overlap: what is said twice is said.
fn gather(key: &str, files: &Files, known: &mut Known, findings: &mut Findings<'_>) -> Vec<Listed> {
    let mut seen = HashSet::new();
    let mut listed = Vec::new();
    for file in files.iter().flat_map(|files| files.get_ref()).flatten() {
        let path = file.get_ref();
        let name = path.display();
        let list = known.entry(path.clone()).or_insert_with(|| Rc::new(load(path).map(|text| parse(&text))));
        let list = match list.as_ref() {
            Ok(list) => list,
            Err(why) => {
                let help = "a file that the switch may read, now and at a reload, with a prefix on each line";
                findings.error(file.span(), format!("`{key}`: {name}: {why}"), help);
                continue;
            }
        };
        let source = Rc::new(file.clone());
        let new = list.prefixes.iter().filter(|(_, prefix)| seen.insert(*prefix));
        listed.extend(new.map(|&(line, prefix)| Listed { prefix, file: Rc::clone(&source), line }));
        for (line, mistake) in list.mistakes.iter().take(MOST_TOLD) {
            findings.error(
                file.span(),
                format!("`{key}`: {name}:{line}: {}", mistake.message),
                &*mistake.help,
            );
        }
        if let Some(more) = list.mistakes.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            let message = format!("`{key}`: {name}: {more} more lines like that");
            findings.error(
                file.span(),
                message,
                "an address or a prefix on each line, and comments after \"#\"",
            );
        }
    }
    listed
}

fn load(path: &Path) -> Result<String, String> {
    let bytes = file::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

fn parse(text: &str) -> List {
    let mut list = List::default();
    for (line, text) in (1..).zip(text.lines()) {
        let said = text.split(['#', ';']).next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        match prefix(said) {
            Ok(prefix) => list.prefixes.push((line, prefix)),
            Err(mistake) => list.mistakes.push((line, mistake)),
        }
    }
    list
}

/// A prefix, or an address by itself.
fn prefix(text: &str) -> Result<(IpAddr, u8), Mistake> {
    if text.len() > LONGEST {
        // Whatever it is: it shall not be in the log.
        return Err(Mistake::new("longer than any prefix", "a prefix or an address on each line"));
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
        assert_eq!(parse(text), List { prefixes: prefixes.to_vec(), mistakes: vec![] });
    }

    #[test]
    fn a_line_that_is_neither_is_named() {
        let list =
            parse("203.0.113.0/24\n203.0.113.7/24\n203.0.113.0/24 203.0.114.0/24\nexample.net\n10.0.0.0/33");
        let lines: Vec<_> = list.mistakes.iter().map(|(line, _)| *line).collect();
        assert_eq!((list.prefixes.len(), lines), (1, vec![2, 3, 4, 5]));
        assert!(list.mistakes[0].1.message.contains("host bits"), "{list:?}");
        let secret = "x".repeat(1 << 20);
        let list = parse(&secret);
        assert!(list.mistakes[0].1.message.len() < 100, "what is no list is not shown");
        let longest = "2001:0db8:0bad:0001:0002:0003:198.18.100.100/128";
        assert_eq!((longest.len(), parse(longest).prefixes.len()), (LONGEST - 1, 1));
    }
}
