//! The control plane.
pub mod dataplane;
