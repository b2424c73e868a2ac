//! On a veth.
