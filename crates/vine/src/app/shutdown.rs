use tokio::sync::watch;

/// Tells a server when to stop gracefully: take no new work and finish what is open.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Asks for it.
#[derive(Clone, Debug)]
pub(super) struct Trigger(watch::Sender<bool>);

impl Shutdown {
    pub(super) fn channel() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(sender), Self(receiver))
    }

    /// Waits until the server is to stop. Cancel safe.
    pub async fn wait(mut self) {
        // Without a trigger the app is gone, and the server with it.
        let _ = self.0.wait_for(|&requested| requested).await;
    }

    /// Whether the server is to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

impl Trigger {
    pub(super) fn pull(&self) {
        self.0.send_replace(true);
    }
}
