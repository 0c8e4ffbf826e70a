//! The cache and the selector as a program uses them, with time paused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod ejection;
mod faulty;
mod outage;
mod selector;
mod strategies;
