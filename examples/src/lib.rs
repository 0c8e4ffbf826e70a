//! Examples of Vine. The programs are in the folder `examples`; here is what takes more than a
//! program to show.

pub mod file_registry;
#[cfg(feature = "clients")]
pub mod nodes;
