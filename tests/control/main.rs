//! The control plane from outside: what its socket and its metrics endpoint answer, and how it follows a real kernel.

mod endpoints;
mod fake;
mod kernel;
