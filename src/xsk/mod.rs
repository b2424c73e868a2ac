//! AF_XDP: packet memory, rings and the XDP program, in one room because all of it is `unsafe` at heart.
//!
//! One promise is asked of those who use it and not checked by the compiler: a frame goes back to the packet memory that it
//! came from, and does not outlive it. A [`RingSet`] holds both; a lifetime in every frame would run through the whole
//! data plane.
//!
//! | file | kernel concept |
//! |---|---|
//! | [`frame`] | one chunk of packet memory, as a token that is moved |
//! | [`jumbo`] | frames that are larger than a chunk |
//! | [`umem`] | the packet memory of one worker |
//! | [`port`] | the four rings of one interface queue; `send`: its sending half |
//! | `socket` | the system calls on one socket |
//! | [`rings`] | packet memory and all ports of one worker, which live and die together |
//! | [`steer`] | the XDP program of one interface |
//! | [`programs`] | the programs that the kernel has, whoever loaded them |
//! | [`memory`] | packet memory without a kernel |

pub mod frame;
pub mod jumbo;
pub mod memory;
pub mod port;
pub mod programs;
pub mod rings;
mod socket;
pub mod steer;
pub mod umem;

pub use frame::Frame;
pub use port::{CopyMode, Port};
pub use rings::RingSet;
pub use steer::{AttachMode, Steer};
pub use umem::Umem;
