//! The cache and the selector as a program uses them, with time paused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod chance;
mod ejection;
mod faulty;
mod loss;
mod outage;
mod selector;
mod snapshots;
mod strategies;
