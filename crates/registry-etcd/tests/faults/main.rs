//! Every fault, produced on real servers, while services are registered and watchers watch. What
//! must be true afterwards stands in `world`: every registration is back, every watcher's fold is the
//! truth, states were true, and nothing leaks.

mod access;
mod data;
mod impatience;
mod leaks;
mod members;
mod network;
mod others;
mod probe;
mod resuming;
mod truth;
mod watching;
mod world;
