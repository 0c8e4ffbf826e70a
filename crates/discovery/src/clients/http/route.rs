use std::sync::Arc;

use crate::{Guard, NoNode, Peer, Pick, Selector, clients::Attempts};

/// Any node that the call was not tried on, or else any that did not refuse it; waits until the nodes
/// are known. [`NoNode::Tried`] if all refused.
pub(crate) async fn pick(
    selector: &Selector,
    attempts: &mut Attempts<'_>,
    key: Option<u64>,
) -> Result<Guard, NoNode> {
    loop {
        match pick_past(selector, attempts.tried(), key) {
            Err(NoNode::Unknown { .. }) => selector.ready().await?,
            Err(NoNode::Tried { .. }) if attempts.forgive() => {}
            picked => return picked,
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
