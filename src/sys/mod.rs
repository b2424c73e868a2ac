//! The few things that only the operating system or the processor can do. With `xsk`, the only room with `unsafe`:
//! each block says why it is sound, and what is exported is safe to call.

pub mod limits;
pub mod prefetch;
pub mod wait;
