use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

static LAST: AtomicU64 = AtomicU64::new(0);

/// The Unix time in milliseconds, and more than any number given before in this process.
///
/// Engines stamp registrations with it: of two processes that register the same node, the one with
/// the greater epoch wins.
pub fn next_epoch() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| {
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1)
    });
    let step = |last: u64| now.max(last + 1);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(step(last))
    });
    step(last.unwrap_or_else(|last| last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_gives_the_same_twice() {
        let epochs: Vec<_> = (0..1000).map(|_| next_epoch()).collect();
        assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
