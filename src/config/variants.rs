//! Values that may be written in more than one type.

use toml::de::DeValue;

use super::reader::article;
use super::values::Mistake;
use crate::tables::{Dscp, MssClamp};

/// `mss_clamp`: `"auto"`, a number of bytes, or `"off"`, which `false` says as well.
pub(super) fn mss_clamp(value: &DeValue<'_>) -> Result<MssClamp, Mistake> {
    // What every host accepts unasked (RFC 9293 §3.7.1), and what an IPv4 packet has room for: 65535 − 20 − 20.
    const BYTES: std::ops::RangeInclusive<u16> = 536..=65495;
    let wrong = |message| {
        let (least, most) = (BYTES.start(), BYTES.end());
        Mistake::new(message, format!("\"auto\", a number of bytes from {least} to {most}, or \"off\""))
    };
    match value {
        DeValue::Boolean(false) => Ok(MssClamp::Off),
        DeValue::String(word) if word == "off" => Ok(MssClamp::Off),
        DeValue::String(word) if word == "auto" => Ok(MssClamp::Auto),
        DeValue::String(word) => Err(wrong(format!("unknown word {word:?}"))),
        DeValue::Integer(digits) => match number(value).filter(|bytes| BYTES.contains(bytes)) {
            Some(bytes) => Ok(MssClamp::Bytes(bytes)),
            None => Err(wrong(format!("{} is out of bounds", digits.as_str()))),
        },
        other => {
            Err(wrong(format!("a word or a number belongs here, this is {}", article(other.type_str()))))
        }
    }
}

/// `dscp`: a code point by its name or number.
pub(super) fn dscp(value: &DeValue<'_>) -> Result<Dscp, Mistake> {
    const HELP: &str =
        "a number from 0 to 63, or a name: \"cs0\" to \"cs7\", \"af11\" to \"af43\", \"ef\", \"va\", \"le\"";
    let found = match value {
        DeValue::Integer(_) => number(value).and_then(|number| u8::try_from(number).ok()).and_then(Dscp::new),
        DeValue::String(name) => named(&name.to_ascii_lowercase()),
        other => {
            let message = format!("a name or a number belongs here, this is {}", article(other.type_str()));
            return Err(Mistake::new(message, HELP));
        }
    };
    found.ok_or_else(|| Mistake::new("this is no code point", HELP))
}

/// RFC 2474 §4.2.2 (class selectors), RFC 2597 §6 (assured forwarding), RFC 3246, RFC 5865 (voice admit), RFC 8622 (lower effort).
fn named(name: &str) -> Option<Dscp> {
    let digits = |text: &str| text.bytes().map(|byte| byte.wrapping_sub(b'0')).collect::<Vec<_>>();
    let number = match (name, name.get(..2)?) {
        ("ef", _) => 46,
        ("va", _) => 44,
        ("le", _) => 1,
        (_, "cs") => match digits(&name[2..])[..] {
            [class @ 0..=7] => class * 8,
            _ => return None,
        },
        (_, "af") => match digits(&name[2..])[..] {
            [class @ 1..=4, drop @ 1..=3] => class * 8 + drop * 2,
            _ => return None,
        },
        _ => return None,
    };
    Dscp::new(number)
}

/// `vlan`: one VLAN, or service and customer VLAN, outermost first.
pub(super) fn vlans(value: &DeValue<'_>) -> Result<Vec<u16>, Mistake> {
    const HELP: &str = "a number from 1 to 4094, or two of them, the service VLAN first: vlan = [200, 100]";
    let items: Vec<&DeValue<'_>> = match value {
        DeValue::Array(list) => list.iter().map(|item| item.get_ref()).collect(),
        single => vec![single],
    };
    if items.len() > 2 {
        return Err(Mistake::new(format!("{} tags are more than 2", items.len()), HELP));
    }
    items.into_iter().map(vlan).collect::<Result<_, _>>().map_err(|message| Mistake::new(message, HELP))
}

fn vlan(value: &DeValue<'_>) -> Result<u16, String> {
    // IEEE 802.1Q §9.6: 0 is no VLAN, and 4095 is reserved.
    const NUMBERS: std::ops::RangeInclusive<u16> = 1..=4094;
    let Some(digits) = value.as_integer() else {
        return Err(format!("a number belongs here, this is {}", article(value.type_str())));
    };
    let vlan = number(value).filter(|vlan| NUMBERS.contains(vlan));
    vlan.ok_or_else(|| format!("there is no VLAN {}", digits.as_str()))
}

/// The number, if it fits.
fn number(value: &DeValue<'_>) -> Option<u16> {
    let integer = value.as_integer()?;
    u16::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// An item of `statuses`: one status, or `"FIRST-LAST"`.
pub(super) fn statuses(value: &DeValue<'_>) -> Result<(u16, u16), Mistake> {
    const HELP: &str =
        "a number from 100 to 599, or the first and the last one: statuses = [204, \"300-399\"]";
    let (first, last) = match value {
        DeValue::Integer(_) => (number(value), number(value)),
        DeValue::String(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (first.trim().parse().ok(), last.trim().parse().ok())
        }
        other => {
            let message = format!("a number or a range belongs here, this is {}", article(other.type_str()));
            return Err(Mistake::new(message, HELP));
        }
    };
    let status = |number: &u16| (100..=599).contains(number);
    match (first.filter(status), last.filter(status)) {
        (Some(first), Some(last)) if first > last => Err(Mistake::new(
            format!("{first}-{last} ends before it begins"),
            format!("write \"{last}-{first}\""),
        )),
        (Some(first), Some(last)) => Ok((first, last)),
        _ => Err(Mistake::new("this is no HTTP status", HELP)),
    }
}

/// `interval_s` of `[service.discover]`: least and most seconds, or one number for both.
pub(super) fn intervals(value: &DeValue<'_>) -> Result<(u32, u32), Mistake> {
    const BOUNDS: std::ops::RangeInclusive<u32> = 1..=24 * 3600;
    const HELP: &str = "the least and the most seconds, from 1 to 86400: interval_s = [5, 300]";
    let seconds = |value: &DeValue<'_>| {
        let integer = value.as_integer()?;
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        number.filter(|number| BOUNDS.contains(number))
    };
    let pair = match value {
        DeValue::Array(list) => match list.iter().map(|item| item.get_ref()).collect::<Vec<_>>()[..] {
            [least, most] => seconds(least).zip(seconds(most)),
            _ => None,
        },
        single => seconds(single).map(|both| (both, both)),
    };
    match pair {
        Some((least, most)) if least > most => {
            let help = format!("the lesser first: interval_s = [{most}, {least}]");
            Err(Mistake::new(format!("{least} is more than {most}"), help))
        }
        Some(pair) => Ok(pair),
        None => Err(Mistake::new("two numbers of seconds belong here", HELP)),
    }
}
