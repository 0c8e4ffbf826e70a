//! A file for each command.

mod bench;
mod call;
mod completions;
mod deregister;
mod doctor;
mod get;
mod list;
mod register;
mod watch;

pub(crate) use bench::bench;
pub(crate) use call::call;
pub(crate) use completions::completions;
pub(crate) use deregister::deregister;
pub(crate) use doctor::doctor;
pub(crate) use get::get;
pub(crate) use list::list;
pub(crate) use register::register;
pub(crate) use watch::watch;

use vine::Namespaces;

fn namespaces(all: bool) -> Namespaces {
    if all {
        Namespaces::All
    } else {
        Namespaces::Own
    }
}
