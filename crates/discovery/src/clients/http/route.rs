use std::sync::Arc;

use crate::{
    Guard, NoNode, Peer, Pick, Selector,
    clients::{Attempts, CallError},
};

/// Any node that the call was not tried on, or else any; waits until the nodes are known.
pub(crate) async fn pick(
    selector: &Selector,
    attempts: &mut Attempts<'_>,
) -> Result<Guard, CallError> {
    loop {
        let error = match pick_past(selector, attempts.tried()) {
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

/// One that refused a connection a moment ago comes last: when many nodes are gone, only some of
/// them are ejected.
fn pick_past(selector: &Selector, tried: &[Arc<str>]) -> Result<Guard, NoNode> {
    let pick = Pick::new().avoiding(tried);
    let guard = selector.pick_by(&pick)?;
    if !guard.peer().refuses() {
        return Ok(guard);
    }
    let answers = |peer: &Peer| !peer.refuses();
    Ok(selector.pick_by(&pick.only(&answers)).unwrap_or(guard))
}
