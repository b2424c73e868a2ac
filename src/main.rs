//! Arguments to a command.
fn main() {}
