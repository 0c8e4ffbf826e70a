use super::{Arrangement, Call, Strategy};
use crate::Peers;

/// Each node as likely as another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Strategy for Random {
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
        Box::new(Among(peers.len()))
    }
}

struct Among(usize);

impl Arrangement for Among {
    fn choose(&self, _call: &Call) -> usize {
        fastrand::usize(..self.0.max(1))
    }
}
