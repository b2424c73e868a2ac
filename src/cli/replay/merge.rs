//! Several captures as one sequence of frames.
//!
//! A file keeps its own order, even where its time stamps go back; among the files the frame with the earliest time
//! stamp is next, and of equal ones that of the file named first. Where one file cannot be read on, all end: what came
//! before is replayed, what would be next is not known.

use super::capture::{Capture, CaptureError, Captured};
use crate::tables::InterfaceId;

/// The captures, each with the interface whose traffic it is.
pub struct Merge {
    /// Those that have a next frame, in the order they were named.
    inputs: Vec<(InterfaceId, Capture)>,
    failed: Option<CaptureError>,
}

impl Merge {
    /// Starts reading every capture.
    pub fn new(captures: Vec<(InterfaceId, Capture)>) -> Result<Self, CaptureError> {
        let mut inputs = Vec::with_capacity(captures.len());
        for (interface, mut capture) in captures {
            if capture.advance()? {
                inputs.push((interface, capture));
            }
        }
        Ok(Self { inputs, failed: None })
    }

    /// The next frame and the interface it arrives at.
    pub fn peek(&self) -> Option<(InterfaceId, &Captured)> {
        let earliest = self.earliest()?;
        self.inputs.get(earliest).map(|(interface, capture)| (*interface, capture.frame()))
    }

    /// Goes on behind the next frame.
    pub fn advance(&mut self) {
        let Some(earliest) = self.earliest() else { return };
        let Some((_, capture)) = self.inputs.get_mut(earliest) else { return };
        match capture.advance() {
            Ok(true) => {}
            Ok(false) => {
                self.inputs.remove(earliest);
            }
            Err(error) => {
                self.failed = Some(error);
                self.inputs.clear();
            }
        }
    }

    /// Whether all captures were read to their ends.
    pub fn finish(self) -> Result<(), CaptureError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn earliest(&self) -> Option<usize> {
        let times = self.inputs.iter().map(|(_, capture)| capture.frame().time_ns);
        // The first of equal ones: `min_by_key` keeps the first.
        times.enumerate().min_by_key(|(_, time)| *time).map(|(position, _)| position)
    }
}
