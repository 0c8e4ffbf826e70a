use super::{Arrangement, Call, Strategy};
use crate::Peers;

/// Each node as likely as its weight says: `vine.weight` in its metadata, a positive number; 1 if
/// there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted;

impl Strategy for Weighted {
    fn arrange(&self, peers: &Peers) -> Box<dyn Arrangement> {
        Box::new(Alias::new(peers.iter().map(|peer| peer.weight()).collect()))
    }
}

/// Columns of one height, each of one node up to a mark and of another one above it; a node's share
/// of the whole area is that of its weight. Source: M. D. Vose, A Linear Algorithm for Generating
/// Random Numbers with a Given Distribution, 1991.
struct Alias(Box<[Column]>);

#[derive(Clone, Copy)]
struct Column {
    mark: f64,
    above: usize,
}

impl Alias {
    fn new(mut weights: Vec<f64>) -> Self {
        // The largest first, so that the sum can't become infinite.
        let largest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        weights.iter_mut().for_each(|weight| *weight /= largest);
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut columns: Box<[_]> = (0..weights.len())
            .map(|above| Column { mark: 1.0, above })
            .collect();
        weights.iter_mut().for_each(|weight| *weight /= mean);
        let (mut low, mut high): (Vec<_>, Vec<_>) =
            (0..weights.len()).partition(|&at| weights[at] < 1.0);
        while let (Some(&small), Some(&large)) = (low.last(), high.last()) {
            low.pop();
            columns[small] = Column {
                mark: weights[small],
                above: large,
            };
            weights[large] -= 1.0 - weights[small];
            if weights[large] < 1.0 {
                high.pop();
                low.push(large);
            }
        }
        Self(columns)
    }
}

impl Arrangement for Alias {
    fn choose(&self, _call: &Call) -> usize {
        let at = fastrand::usize(..self.0.len().max(1));
        match self.0.get(at) {
            Some(column) if fastrand::f64() >= column.mark => column.above,
            _ => at,
        }
    }
}
