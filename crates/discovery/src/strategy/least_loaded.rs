use std::sync::Arc;

use super::{Arrangement, Call, Strategy};
use crate::Peer;

/// Of two random nodes the one where a call has to wait less, by the latency of its calls and how
/// many are under way. That needs guards: what nobody reports, it can't heed.
///
/// Source: M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

impl Strategy for LeastLoaded {
    fn arrange(&self, peers: &Arc<[Arc<Peer>]>) -> Box<dyn Arrangement> {
        Box::new(OfTwo(Arc::clone(peers)))
    }
}

struct OfTwo(Arc<[Arc<Peer>]>);

impl Arrangement for OfTwo {
    fn choose(&self, call: &Call) -> usize {
        let Self(peers) = self;
        if peers.len() < 2 {
            return 0;
        }
        let one = fastrand::usize(..peers.len());
        let other = fastrand::usize(..peers.len() - 1);
        let other = other + usize::from(other >= one);
        if peers[other].is_less_loaded(&peers[one], call.time()) {
            other
        } else {
            one
        }
    }
}
