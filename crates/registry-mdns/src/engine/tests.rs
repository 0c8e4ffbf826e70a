//! In virtual time: several engines on a simulated link.

mod answering;
mod blobs;
mod caching;
mod finding;
mod foreign;
mod holders;
mod hostile;
mod keys;
mod limits;
mod lookups;
mod net;
mod outages;
mod overhearing;
mod reader;
mod registering;
mod room;
mod scale;
mod sections;
mod truth;
