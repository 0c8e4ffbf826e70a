use std::sync::Arc;

use crate::{
    Guard, NoNode, Peer, Pick, Selector,
    clients::{Attempts, CallError},
};

/// Any node that the call was not tried on, or else any; waits until the nodes are known.
pub(crate) async fn pick(
    selector: &Selector,
    attempts: &mut Attempts<'_>,
    key: Option<u64>,
) -> Result<Guard, CallError> {
    loop {
        let error = match pick_past(selector, attempts.tried(), key) {
            Ok(guard) => return Ok(guard),
            Err(error) => error,
        };
        match error {
            NoNode::Unknown { .. } => selector.ready().await?,
            NoNode::Tried { .. } => attempts.forget(),
            error => return Err(error.into()),
        }
    }
}

/// One that refuses connections comes last, but for a call each second: when many nodes are gone, only
/// some of them are ejected, and all retries would be spent on the others.
fn pick_past(selector: &Selector, tried: &[Arc<str>], key: Option<u64>) -> Result<Guard, NoNode> {
    let mut pick = Pick::new().avoiding(tried);
    pick.key = key;
    let guard = selector.pick_by(&pick)?;
    if guard.may_try() {
        return Ok(guard);
    }
    let answers = |peer: &Peer| !peer.refuses();
    Ok(selector.pick_by(&pick.only(&answers)).unwrap_or(guard))
}
