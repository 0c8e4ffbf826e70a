//! For tower: [`Balanced`], a service that calls the live nodes of a service, and [`Discover`], which
//! tells tower's own balancers of them.

mod balanced;
mod builder;
mod discover;
mod keeper;
mod links;
mod policy;

pub use self::{
    balanced::{Balanced, CallFuture},
    builder::BalancedBuilder,
    discover::Discover,
    policy::{Once, Policy},
};
