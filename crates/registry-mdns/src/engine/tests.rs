//! In virtual time: several engines on a simulated link.

mod finding;
mod holders;
mod net;
mod truth;
