//! Registry URLs: whatever stands in one, no password and no parameter's value is shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vine_registry::{Options, Url};

fuzz_target!(|text: &str| {
    let parsed = text.parse::<Url>();
    if !Url::is_url(text) {
        assert!(parsed.is_err(), "{text:?} is no URL");
    }
    let url = match parsed {
        Ok(url) => url,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let options = Options::new().with_url(&url);
    assert!(!options.namespace.is_empty(), "{text:?}");
    let mut other = url.clone();
    if let Some(credentials) = &mut other.credentials {
        credentials.password.push_str("another");
    }
    for value in other.parameters.values_mut() {
        value.push_str("another");
    }
    let shown = |url: &Url, options: &Options| format!("{url} {url:?} {options:?}");
    let others = Options::new().with_url(&other);
    assert_eq!(
        shown(&url, &options),
        shown(&other, &others),
        "a secret of {text:?} shows"
    );
});
