//! System calls that no crate of ours wraps: one kernel concept per file, and the only `unsafe` outside the rings.

pub mod packet;
