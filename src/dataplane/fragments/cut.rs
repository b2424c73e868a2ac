//! Packets that are too big for their way, and may be fragmented: IPv4 without DF (RFC 791 §3.2, RFC 1812 §4.2.2.7).
//!
//! The client's own packet is cut, before anything is put in front of it. Each piece then travels on its own, as if the
//! client had sent it like that: the backend's tunnel has nothing to put together (see docs/design/0012).

use crate::dataplane::batch::Meta;
use crate::dataplane::family::Pair;
use crate::dataplane::rewrite::{Egress, link};
use crate::dataplane::turn::{Extras, Turn};
use crate::dataplane::verdict::Verdict;
use crate::tables::DropReason;
use crate::wire::fragment;
use crate::wire::tunnel::Outer;
use crate::xsk::Frame;

/// The smallest MTU that an IPv4 link may have: the longest header, and eight bytes (RFC 791 §3.2).
pub const SMALLEST_MTU: u16 = 68;

/// Gives a packet that is longer than `meta.mtu` to its next hop in pieces. All of them, or none: what the receiver would
/// have to throw away is not sent.
#[cold]
pub fn leave<P: Pair>(
    frame: &mut Frame,
    meta: &Meta,
    egress: &Egress<'_>,
    outer: Option<&Outer>,
    turn: &mut Turn<'_>,
) -> Result<(), DropReason> {
    let mut first = *meta;
    let start = turn.extras.made.len();
    cut(frame, &mut first, turn.extras)?;
    let mut made = std::mem::take(&mut turn.extras.made);
    for (piece, meta) in made.iter_mut().skip(start) {
        let left = link::leave::<P>(piece, meta, egress, outer, turn);
        meta.verdict = Some(left.map_or_else(Verdict::Drop, |()| Verdict::Forward(egress.interface())));
        turn.counters.created.add(1);
    }
    turn.extras.made = made;
    link::leave::<P>(frame, &first, egress, outer, turn)
}

/// Whether there are frames for the pieces of a packet that is longer than `meta.mtu`. Asked before anything is changed.
#[cold]
pub fn has_spares(meta: &Meta, extras: &Extras) -> Result<(), DropReason> {
    let (pieces, _) = pieces(meta).ok_or(DropReason::TooBig)?;
    if extras.spares.len() < usize::from(pieces).saturating_sub(1) {
        return Err(DropReason::NoHeadroom);
    }
    Ok(())
}

/// How many pieces the packet leaves in, and how many bytes of payload all but the last of them hold.
fn pieces(meta: &Meta) -> Option<(u16, u16)> {
    let header = meta.parsed.transport - u16::from(meta.parsed.ip);
    let unit = meta.mtu.saturating_sub(header) & !7;
    let payload = meta.parsed.ip_len.saturating_sub(header);
    payload.checked_div(unit).map(|_| (payload.div_ceil(unit), unit))
}

/// Cuts the packet into pieces, from its end on, so that every byte is copied once and fits a frame of the usual size. The
/// first stays where it is, the others become frames of their own.
fn cut(frame: &mut Frame, meta: &mut Meta, extras: &mut Extras) -> Result<(), DropReason> {
    let (link, header) = (usize::from(meta.parsed.ip), meta.parsed.transport - u16::from(meta.parsed.ip));
    let (pieces, unit) = pieces(meta).ok_or(DropReason::TooBig)?;
    let start = extras.made.len();
    for piece in (1..pieces).rev() {
        let Some(mut spare) = extras.spare() else { return Err(DropReason::NoHeadroom) };
        let made = piece_off(frame, &mut spare, link, header + piece * unit);
        let Some(lengths) = made else {
            // A packet that was parsed and may be cut can be; kept rather than lost, all the same.
            extras.spares.push(spare);
            extras.spares.extend(extras.made.drain(start..).map(|(piece, _)| piece));
            return Err(DropReason::NoHeadroom);
        };
        meta.parsed.ip_len = lengths.first;
        let mut rest = *meta;
        rest.parsed.ip_len = lengths.rest;
        extras.made.push((spare, rest));
    }
    if let Some(made) = extras.made.get_mut(start..) {
        made.reverse();
    }
    Ok(())
}

/// Shortens the packet behind the first `link` bytes of `frame` to `mtu` bytes, and puts the rest into `spare`, behind a
/// copy of those.
fn piece_off(frame: &mut Frame, spare: &mut Frame, link: usize, mtu: u16) -> Option<fragment::Pieces> {
    let rest = frame.len().checked_sub(usize::from(mtu))?;
    // Room for the longest header. The frame's own length is enough where the chunk has no more.
    if !spare.fill(&[]) || !spare.resize((rest + link + 60).min(frame.len())) {
        return None;
    }
    spare.bytes_mut().get_mut(..link)?.copy_from_slice(frame.bytes().get(..link)?);
    let packet = frame.bytes_mut().get_mut(link..)?;
    let pieces = fragment::cut(packet, mtu, spare.bytes_mut().get_mut(link..)?)?;
    let fits =
        frame.resize(link + usize::from(pieces.first)) && spare.resize(link + usize::from(pieces.rest));
    fits.then_some(pieces)
}
