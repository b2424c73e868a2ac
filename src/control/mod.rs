//! The control plane.
pub mod compile;
pub mod dataplane;
pub mod network;
pub mod rows;
pub mod steering;
pub mod topology;

#[cfg(test)]
mod testing;
