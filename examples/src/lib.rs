//! Examples of Vine.
