//! The few things that only the operating system or the processor can do. With `xsk`, the only room with `unsafe`:
//! each block says why it is sound, and what is exported is safe to call. One kernel concept per file.

pub mod clock;
pub mod ethtool;
pub mod huge;
pub mod interface;
pub mod interrupt;
pub mod kernel;
pub mod limits;
pub mod memory;
pub mod namespace;
pub mod napi;
pub mod packet;
pub mod prefetch;
pub mod privileges;
pub mod sandbox;
pub mod wait;
