use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How often a client tries calls again.
///
/// All calls of a client to one service share a budget, so that nodes that fail under load do not get
/// more load for that: a share of the calls, and a few each second for clients that call rarely.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Retries {
    /// How often one call is sent, the first time included. 3 by default. Attempts that no node has
    /// seen, as the connection was refused, do not count: of them there may be eight more, unless this
    /// is 1, and by HTTP one for each node that refuses.
    pub attempts: u32,
    /// Which share of all calls may be tried again. 0.2 by default.
    pub share: f64,
    /// How many may be tried again each second besides. 10 by default.
    pub per_second: f64,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            share: 0.2,
            per_second: 10.0,
        }
    }
}

impl Retries {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No call is tried again.
    #[must_use]
    pub fn none() -> Self {
        Self::new().with_attempts(1)
    }

    /// Sets how often one call is tried, the first time included.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets how many of all calls may be tried again: a share of them, and so many each second.
    #[must_use]
    pub fn with_budget(mut self, share: f64, per_second: f64) -> Self {
        (self.share, self.per_second) = (share, per_second);
        self
    }
}

/// As good as without a limit: what is infinite can't be reckoned with.
const BOUNDLESS: f64 = 1e12;

/// What was not spent fades with this time.
const MEMORY: Duration = Duration::from_secs(10);

/// The calls of a client, and what is left for trying some again. A call costs one addition; time
/// is looked at only when something is tried again.
#[derive(Debug)]
pub(crate) struct Budget {
    rules: Retries,
    calls: AtomicU64,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    credit: f64,
    at: Instant,
    calls: u64,
}

impl Budget {
    /// A budget that starts with what [`MEMORY`] without calls saves up.
    pub(crate) fn new(mut rules: Retries, now: Instant) -> Self {
        rules.share = rules.share.min(BOUNDLESS);
        rules.per_second = rules.per_second.min(BOUNDLESS);
        let account = Account {
            credit: rules.per_second * MEMORY.as_secs_f64(),
            at: now,
            calls: 0,
        };
        Self {
            rules,
            calls: AtomicU64::new(0),
            account: Mutex::new(account),
        }
    }

    pub(crate) fn rules(&self) -> &Retries {
        &self.rules
    }

    pub(crate) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one more call may be tried again, which counts it.
    pub(crate) fn spend(&self, now: Instant) -> bool {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.bring_to(now, self.calls.load(Ordering::Relaxed), &self.rules);
        let may = account.credit >= 1.0;
        if may {
            account.credit -= 1.0;
        }
        may
    }
}

impl Account {
    /// Calls are taken as evenly spread since the last time; credit fades exponentially.
    fn bring_to(&mut self, now: Instant, calls: u64, rules: &Retries) {
        let memory = MEMORY.as_secs_f64();
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        let earned = (calls - self.calls) as f64 * rules.share;
        let kept = (-past / memory).exp();
        let fading = if past > 0.0 {
            memory / past * (1.0 - kept)
        } else {
            1.0
        };
        let steady = rules.per_second * memory * (1.0 - kept);
        self.credit = self.credit * kept + earned * fading + steady;
        (self.at, self.calls) = (now, calls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(budget: &Budget, now: Instant) -> u32 {
        let mut spent = 0;
        while budget.spend(now) {
            spent += 1;
        }
        spent
    }

    #[tokio::test(start_paused = true)]
    async fn ten_a_second_and_a_fifth_of_all_calls() {
        let start = Instant::now();
        let budget = Budget::new(Retries::new(), start);
        assert_eq!(spend_all(&budget, start), 100, "saved up");
        let mut now = start;
        let mut spent = 0;
        for _ in 0..100 {
            now += Duration::from_millis(100);
            for _ in 0..200 {
                budget.called();
            }
            spent += spend_all(&budget, now);
        }
        // A fifth of 20,000, and ten seconds of ten; the moments at which is counted fade a little.
        assert!((4_000..=4_100).contains(&spent), "{spent}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_spent_fades() {
        let start = Instant::now();
        let budget = Budget::new(Retries::new(), start);
        for _ in 0..1_000_000 {
            budget.called();
        }
        let spent = spend_all(&budget, start + Duration::from_secs(1_000));
        // A thousand calls a second for the time remembered, and a hundred besides.
        assert!((2_050..=2_100).contains(&spent), "{spent}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_nothing() {
        let now = Instant::now();
        let budget = Budget::new(Retries::new().with_budget(0.0, 0.0), now);
        budget.called();
        assert!(!budget.spend(now + Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_all_may_be_tried_again() {
        let now = Instant::now();
        let endless = f64::INFINITY;
        for rules in [(endless, endless), (endless, 0.0), (0.0, endless)] {
            let budget = Budget::new(Retries::new().with_budget(rules.0, rules.1), now);
            let mut time = now;
            for pause in [0, 0, 1, 0, 1_000_000] {
                time += Duration::from_secs(pause);
                budget.called();
                assert!(budget.spend(time), "{rules:?} {pause}");
            }
        }
    }
}
