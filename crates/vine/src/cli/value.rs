//! How values are written on a command line and in the environment.

use std::{fmt, time::Duration};

/// The name of an environment variable, unless it is set to nothing: then it counts as not set.
pub(super) fn env(name: &'static str) -> Option<&'static str> {
    std::env::var_os(name)
        .is_none_or(|value| !value.is_empty())
        .then_some(name)
}

/// A span of time such as `30s`, `500ms`, `5m` or `1h 30m`; longer than nothing. For `value_parser`
/// of arguments of one's own.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than 0; for instance 30s, 500ms or 5m".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("not a duration; write it with a unit: 30s, 500ms or 5m".into()),
    }
}

/// What must not be seen by others: it does not show in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What it is.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Keys with values, as in `zone=north` or `zone=north,weight=2`.
///
/// A comma ends a value only when another `key=` follows, so `tags=a,b` is one pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for piece in text.split(',') {
            match (piece.split_once('='), pairs.last_mut()) {
                (Some((key, value)), _) if !key.trim().is_empty() => {
                    pairs.push((key.trim().to_owned(), value.to_owned()));
                }
                (None, Some((_, value))) => {
                    value.push(',');
                    value.push_str(piece);
                }
                _ => return Err("not key=value; for instance zone=north".into()),
            }
        }
        Ok(Self(pairs))
    }

    /// The pairs, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for text in ["", "30", "soon", "-1s", "0s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_comma_ends_a_value_only_before_a_key() {
        let pairs = |text| Pairs::parse(text).map(|pairs| pairs.0);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs("a=1"), Ok(vec![pair("a", "1")]));
        assert_eq!(
            pairs("a=1, b=2="),
            Ok(vec![pair("a", "1"), pair("b", "2=")])
        );
        assert_eq!(pairs("t=x,y,z"), Ok(vec![pair("t", "x,y,z")]));
        assert_eq!(pairs("a="), Ok(vec![pair("a", "")]));
        for text in ["", "a", "=1", "a,b=1", "a=1,=2"] {
            assert!(pairs(text).is_err(), "{text}");
        }
    }
}
