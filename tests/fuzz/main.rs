//! Ten million damaged frames through the data path: no panic, no frame lost, every frame counted once.
//!
//! Frames that led to a defect once lie in `crashes/` and come first. Everything follows from a seed: a failure prints
//! the batch that led to it in the form of those files.

mod corpus;
mod crashes;
#[path = "../frames/mod.rs"]
mod frames;
mod mutate;
mod random;
mod storm;
