use std::{sync::Mutex as StdMutex, sync::PoisonError};

use http::HeaderValue;
use tokio::sync::Mutex;
use tonic::{Code, Status};
use vine_registry::Credentials;

use super::{ATTEMPT, Connection, Failure};
use crate::proto::AuthenticateRequest;

/// Who to be, and the token that proves it. One authentication serves all who wait for it: etcd
/// manages some twenty in a second.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Option<Credentials>,
    authenticating: Mutex<()>,
    token: StdMutex<Token>,
}

#[derive(Clone, Debug, Default)]
struct Token {
    value: Option<HeaderValue>,
    /// Which one it is; 0 before the first.
    number: u64,
    expired: bool,
}

impl Auth {
    pub(super) fn new(credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            authenticating: Mutex::new(()),
            token: StdMutex::default(),
        }
    }

    /// The token to show, and its number; none if there is none yet, or no more.
    pub(super) fn known(&self) -> Option<(Option<HeaderValue>, u64)> {
        if self.credentials.is_none() {
            return Some((None, 0));
        }
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        (token.number > 0 && !token.expired).then(|| (token.value.clone(), token.number))
    }

    /// Gets a token, unless somebody else just did.
    pub(super) async fn authenticate(
        &self,
        connection: &Connection,
    ) -> Result<(Option<HeaderValue>, u64), Failure> {
        let _one_at_a_time = self.authenticating.lock().await;
        if let Some(token) = self.known() {
            return Ok(token);
        }
        let Some(credentials) = &self.credentials else {
            return Ok((None, 0));
        };
        let request = AuthenticateRequest {
            name: credentials.username.clone(),
            password: credentials.password.clone(),
        };
        let mut client = connection.clone().auth();
        let answer = client.authenticate(request);
        let value = match connection.begins(ATTEMPT, answer).await {
            None => return Err(Failure::Silent(ATTEMPT)),
            Some(Ok(answer)) => Some(header(&answer.into_inner().token)?),
            // A cluster without authentication takes everybody.
            Some(Err(status)) if is_not_enabled(&status) => None,
            Some(Err(status)) => return Err(Failure::of(status, "authentication")),
        };
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.value = value;
        token.number += 1;
        token.expired = false;
        Ok((token.value.clone(), token.number))
    }

    /// A cluster that wants a user since a moment ago has not been told who this one is.
    pub(super) fn reinterpret(&self, status: Status) -> Status {
        if self.credentials.is_some() && wants_user(&status) {
            Status::unauthenticated(status.message())
        } else {
            status
        }
    }

    /// Says that a token is not taken any more.
    pub(super) fn expire(&self, number: u64) {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.number == number {
            token.expired = true;
        }
    }
}

fn header(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(token)
        .map_err(|_| Failure::Unreachable("authentication gave a token that is none".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn wants_user(status: &Status) -> bool {
    status.code() == Code::InvalidArgument && status.message().contains("user name is empty")
}

fn is_not_enabled(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition && status.message().contains("not enabled")
}
