//! Many nodes.

use super::{NAME, Scenario, pair, same, scenario};
use crate::{Outcome, process::Peer};

pub(super) fn all() -> Vec<Scenario> {
    vec![scenario("a thousand nodes are all found", thousand())]
}

async fn thousand() -> Outcome {
    let (a, b) = pair()?;
    let mut one = Peer::start(&a).await?;
    one.tell(&format!("register-many {NAME} v1 1000 10.77.0.1"))
        .await?;
    for _ in 0..3 {
        let mut asker = Peer::start(&b).await?;
        let counted = asker.tell(&format!("count {NAME} 1000")).await?;
        same("1000", counted.rsplit(' ').next().unwrap_or_default())?;
    }
    Ok(())
}
