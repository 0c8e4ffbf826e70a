//! The suite of cases that every registry engine passes, a third party's too.
//!
//! A case is an async function over two handles of one registry, `a` and `b`, which see each
//! other's registrations: at once, or after a moment. It begins with an empty registry. Each one
//! cites the sentence of `vine-registry`'s documentation that it holds the engine to, and asks
//! [`Registry::capabilities`] where engines differ.
//!
//! An engine runs the whole suite by one macro, [`conformance!`], in its `tests/conformance.rs`.
//!
//! Cases wait by polling and by watching, with a deadline of half a minute; what must *not*
//! happen is observed for some hundred milliseconds, or until something else has happened. With
//! tokio's clock paused, all of this takes no time.

mod cancel;
mod cases;
mod close;
mod deregister;
mod expect;
mod listener;
pub mod listening;
mod namespaces;
mod ownership;
mod registration;
mod round_trip;
mod samples;
mod ttl;
mod validation;
mod versions;
mod watch;
mod watch_scope;
mod watch_stress;

pub use cases::{CASES, Case, run};

use vine_registry::Registry;

/// One of the two handles.
type Handle<'a> = &'a dyn Registry;

/// Makes one test of each case of the suite.
///
/// It takes the attributes that each test shall have, and an expression, which may `.await`, of two
/// new handles, `(a, b)`, of a registry that nobody else uses. Give both a namespace of their own,
/// so that an engine which takes the default one for granted is found out. What else stands in the
/// tuple, a server or a folder perhaps, lives as long as the case runs.
///
/// ```
/// # mod conformance {
/// use vine_registry::{MemoryRegistry, Options};
///
/// fn handles() -> (MemoryRegistry, MemoryRegistry) {
///     let a = MemoryRegistry::new().handle_with(Options::new().with_namespace("conformance"));
///     let b = a.handle();
///     (a, b)
/// }
///
/// vine_registry_conformance::conformance!(#[tokio::test(start_paused = true)] handles());
/// # }
/// ```
#[macro_export]
macro_rules! conformance {
    ($(#[$attribute:meta])+ $handles:expr) => {
        $crate::__with_cases!($crate::__tests, [$(#[$attribute])+] $handles);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$attributes:tt $handles:expr] $($theme:ident { $($case:ident: $contract:literal,)+ })+) => {$(
        mod $theme {
            use super::*;
            $($crate::__test!($attributes $handles, $theme, $case);)+
        }
    )+};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __test {
    ([$(#[$attribute:meta])+] $handles:expr, $theme:ident, $case:ident) => {
        $(#[$attribute])+
        async fn $case() {
            let handles = $handles;
            let (a, b, ..) = &handles;
            $crate::run(stringify!($theme), stringify!($case), a, b).await;
        }
    };
}
