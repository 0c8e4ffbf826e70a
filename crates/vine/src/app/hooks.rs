use std::{fmt, pin::Pin};

use super::{App, BoxError, RunError};

type Outcome = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
pub(super) type Hook<T> = Box<dyn FnOnce(T) -> Outcome + Send>;

/// What a program wants done around its start and its stop, in the order in which it was added.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) before_start: Vec<Hook<()>>,
    pub(super) after_start: Vec<Hook<App>>,
    pub(super) before_stop: Vec<Hook<App>>,
    pub(super) after_stop: Vec<Hook<()>>,
}

pub(super) fn boxed<T, F, Fut>(hook: F) -> Hook<T>
where
    F: FnOnce(T) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Box::new(move |argument| Box::pin(hook(argument)))
}

/// Runs them one after the other, to the first error.
pub(super) async fn run<T: Clone>(
    when: &'static str,
    hooks: Vec<Hook<T>>,
    argument: T,
) -> Result<(), RunError> {
    for hook in hooks {
        hook(argument.clone())
            .await
            .map_err(|source| RunError::Hook { when, source })?;
    }
    Ok(())
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("before_start", &self.before_start.len())
            .field("after_start", &self.after_start.len())
            .field("before_stop", &self.before_stop.len())
            .field("after_stop", &self.after_stop.len())
            .finish()
    }
}
