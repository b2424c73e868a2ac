//! Random lives of many connections, against a model that is nothing but maps.

mod batches;
#[path = "../frames/mod.rs"]
mod frames;
mod model;
mod sequences;
mod world;
