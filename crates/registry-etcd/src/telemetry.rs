//! What this engine tells through the `metrics` facade.

use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{counter, gauge, histogram};
use vine_registry::telemetry::{DROPPED, LEASE_LOSSES, REQUESTS, RESYNCS, RETRIES, WATCH_LAG};

use crate::NAME;

/// A share of a gauge, which ends with it.
#[derive(Debug)]
pub(crate) struct Level {
    name: &'static str,
    now: AtomicUsize,
}

impl Level {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            name,
            now: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set(&self, value: usize) {
        let before = self.now.swap(value, Ordering::Relaxed);
        if before == value {
            return;
        }
        let gauge = gauge!(self.name, "registry" => NAME);
        if value > before {
            gauge.increment(number(value - before));
        } else {
            gauge.decrement(number(before - value));
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.set(0);
    }
}

pub(crate) fn request(operation: &'static str, succeeded: bool) {
    let outcome = if succeeded { "ok" } else { "error" };
    counter!(REQUESTS, "registry" => NAME, "operation" => operation, "outcome" => outcome)
        .increment(1);
}

pub(crate) fn retry(operation: &'static str) {
    counter!(RETRIES, "registry" => NAME, "operation" => operation).increment(1);
}

pub(crate) fn dropped(reason: &'static str) {
    counter!(DROPPED, "registry" => NAME, "reason" => reason).increment(1);
}

pub(crate) fn lease_lost() {
    counter!(LEASE_LOSSES, "registry" => NAME).increment(1);
}

pub(crate) fn resync(reason: &'static str) {
    counter!(RESYNCS, "registry" => NAME, "reason" => reason).increment(1);
}

pub(crate) fn watch_lag(seconds: f64) {
    histogram!(WATCH_LAG, "registry" => NAME).record(seconds);
}

/// Exact up to numbers that no registry reaches.
fn number(value: usize) -> f64 {
    u32::try_from(value).unwrap_or(u32::MAX).into()
}
