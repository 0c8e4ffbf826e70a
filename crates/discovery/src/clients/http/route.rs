use crate::{
    Guard, NoNode, Pick, Selector,
    clients::{Attempts, CallError},
};

/// Any node that the call was not tried on, or else any; waits until the nodes are known.
pub(crate) async fn pick(
    selector: &Selector,
    attempts: &mut Attempts<'_>,
) -> Result<Guard, CallError> {
    loop {
        let error = match selector.pick_by(&Pick::new().avoiding(attempts.tried())) {
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
