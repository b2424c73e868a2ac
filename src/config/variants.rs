//! Values that may be written in more than one type.

use toml::de::DeValue;

use super::reader::article;
use super::values::Mistake;
use crate::tables::MssClamp;

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
