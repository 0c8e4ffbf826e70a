use super::{Arrangement, Call, Strategy};
use crate::Peers;

/// Of two random nodes the one where a call has to wait less, by the latency of its calls and how
/// many are under way. That needs guards: what nobody reports, it can't heed.
///
/// Source: M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

impl Strategy for LeastLoaded {
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
        Box::new(OfTwo(peers.clone()))
    }
}

struct OfTwo(Peers);

impl Arrangement for OfTwo {
    fn choose(&self, call: &Call) -> usize {
        let Self(peers) = self;
        if peers.len() < 2 {
            return 0;
        }
        let (one, other) = two_below(peers.len());
        match (peers.get(one), peers.get(other)) {
            (Some(a), Some(b)) if b.is_less_loaded(a, call) => other,
            _ => one,
        }
    }
}

/// Two different numbers below another one, which is 2 at least, of one draw.
fn two_below(len: usize) -> (usize, usize) {
    let draw = fastrand::u64(..);
    let below = |half: u32, len: usize| ((u64::from(half) * len as u64) >> 32) as usize;
    let one = below((draw >> 32) as u32, len);
    let other = below(draw as u32, len - 1);
    (one, other + usize::from(other >= one))
}
