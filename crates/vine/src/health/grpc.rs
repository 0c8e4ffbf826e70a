use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::{Health, Readiness};

impl Health {
    /// The standard service `grpc.health.v1.Health`, which answers for the server as a whole (the
    /// empty name); add it to a tonic server.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn grpc(&self) -> HealthServer<HealthService> {
        let reporter = HealthReporter::new();
        let server = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let mut observer = self.0.subscribe();
        tokio::spawn(async move {
            loop {
                let readiness = observer.borrow_and_update().readiness();
                let status = match readiness {
                    Readiness::Ready => ServingStatus::Serving,
                    _ => ServingStatus::NotServing,
                };
                reporter.set_service_status("", status).await;
                if observer.changed().await.is_err() {
                    break;
                }
            }
        });
        server
    }
}
