use std::borrow::Cow;

/// Whether a terminal would do something else than show this character, or show others
/// somewhere else: control characters, and those that turn the direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text from elsewhere, so that a terminal shows it and does nothing else.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// JSON that means the same, so that a terminal shows it and does nothing else.
///
/// What JSON must escape is escaped already; what is left and unsafe stands inside of strings.
pub(super) fn escaped_json(json: String) -> String {
    let inside = |c: char| c >= ' ' && is_unsafe(c);
    if !json.contains(inside) {
        return json;
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if inside(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_steer_the_terminal() {
        assert_eq!(escaped("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(
            escaped("\u{9b}2J \u{202e}x\u{7f}"),
            "\\u{9b}2J \\u{202e}x\\u{7f}"
        );
        assert_eq!(escaped("服务 ñ 👋"), "服务 ñ 👋");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let text = "a\u{9b}2J \u{202e}\"\\\x1b\n服务\u{7f}";
        for json in [
            serde_json::to_string(&[text]).unwrap(),
            serde_json::to_string_pretty(&[text]).unwrap(),
        ] {
            let safe = escaped_json(json);
            assert!(
                !safe.contains(|c: char| c != '\n' && is_unsafe(c)),
                "{safe}"
            );
            assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), [text]);
        }
    }
}
