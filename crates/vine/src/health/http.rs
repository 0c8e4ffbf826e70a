use axum::{Router, http::StatusCode, routing::get};

use super::Health;

impl Health {
    /// Answers `/healthz` (is it alive?) and `/readyz` (should it get calls?); merge it into the
    /// service's own routes.
    ///
    /// ```
    /// # async fn hello() -> &'static str { "hello" }
    /// let health = vine::Health::new();
    /// let routes = axum::Router::new().route("/", axum::routing::get(hello)).merge(health.router());
    /// # let _: axum::Router = routes;
    /// ```
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let (alive, ready) = (self.clone(), self.clone());
        Router::new()
            .route("/healthz", get(async move || answer(alive.healthz())))
            .route("/readyz", get(async move || answer(ready.readyz())))
    }
}

fn answer<B>((status, body): (u16, B)) -> (StatusCode, B) {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, body)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt;
    use vine_registry::RegistrationState;

    use super::*;

    #[tokio::test]
    async fn probes_are_answered() {
        let health = Health::new();
        let router: Router = health.router();
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router
                .clone()
                .oneshot(request)
                .await
                .unwrap()
                .status()
                .as_u16()
        };
        assert_eq!((ask("/healthz").await, ask("/readyz").await), (200, 503));
        health.observe(&RegistrationState::Registered);
        assert_eq!((ask("/healthz").await, ask("/readyz").await), (200, 200));
        health.stopping();
        assert_eq!((ask("/healthz").await, ask("/readyz").await), (200, 503));
    }
}
