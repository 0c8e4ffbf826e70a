//! Bytes from elsewhere, printed as they come.

use std::io::IsTerminal;

use tokio::io::AsyncWriteExt;

use super::{Output, escaped};
use crate::failure::Failure;

/// Prints bytes part by part: as they are for programs, and harmless on a terminal.
pub(crate) struct Parts<'a> {
    output: &'a mut Output,
    screen: Option<Screen>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(output: &'a mut Output) -> Self {
        let screen = std::io::stdout().is_terminal().then(Screen::default);
        Self { output, screen }
    }

    /// Prints a part at once, but for what only makes sense with the next one.
    pub(crate) async fn print(&mut self, part: &[u8]) -> Result<(), Failure> {
        if let Some(screen) = &mut self.screen {
            return self.output.print(&screen.next(part)).await;
        }
        self.output.stdout.write_all(part).await?;
        Ok(self.output.stdout.flush().await?)
    }

    /// There are no more parts.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        match self.screen {
            Some(screen) => self.output.print(&screen.end()).await,
            None => Ok(()),
        }
    }
}

/// Bytes as a terminal shows them and does nothing else, in whole lines at the end.
#[derive(Default)]
struct Screen {
    /// The beginning of a character or of a line's end.
    held: Vec<u8>,
    is_line_open: bool,
}

impl Screen {
    fn next(&mut self, part: &[u8]) -> String {
        self.held.extend_from_slice(part);
        let rest = self.held.split_off(whole(&self.held));
        let bytes = std::mem::replace(&mut self.held, rest);
        self.show(&bytes)
    }

    fn end(mut self) -> String {
        let held = std::mem::take(&mut self.held);
        let mut text = self.show(held.strip_suffix(b"\r").unwrap_or(&held));
        if self.is_line_open {
            text.push('\n');
        }
        text
    }

    fn show(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        let is_kept = |c| matches!(c, '\n' | '\t');
        let mut safe = String::with_capacity(text.len());
        for piece in text.split_inclusive(is_kept) {
            let inside = piece.trim_end_matches(is_kept);
            safe.push_str(&escaped(inside));
            safe.push_str(&piece[inside.len()..]);
        }
        if !safe.is_empty() {
            self.is_line_open = !safe.ends_with('\n');
        }
        safe
    }
}

/// How many of these bytes mean the same whatever comes next.
fn whole(bytes: &[u8]) -> usize {
    if let Some(before) = bytes.strip_suffix(b"\r") {
        return before.len();
    }
    let is_incomplete = |from: &usize| {
        let tail = std::str::from_utf8(&bytes[*from..]);
        tail.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let tail = bytes.len().saturating_sub(3)..bytes.len();
    tail.into_iter().find(is_incomplete).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_shown_as_the_whole_is_however_it_is_split() {
        let bytes = b"a\tb\r\nc\rd\x1b[2J\n\xe6\x9c\x8d\xf0\x9f\x91\x8b\xe6\x9c\xff\xc2\x9b\xe2\x80\xae\xf0\x9f";
        let expected = "a\tb\nc\\rd\\u{1b}[2J\n服👋\u{fffd}\u{fffd}\\u{9b}\\u{202e}\u{fffd}\n";
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let mut screen = Screen::default();
                let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let mut shown = parts.map(|part| screen.next(part)).concat();
                shown += &screen.end();
                assert_eq!(shown, expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn whole_characters_are_shown_at_once_and_lines_ended() {
        let mut screen = Screen::default();
        assert_eq!(screen.next("tick 服".as_bytes()), "tick 服");
        assert_eq!(screen.end(), "\n");
        let mut screen = Screen::default();
        assert_eq!(screen.next(b"a\r"), "a");
        assert_eq!(screen.next(b"\n"), "\n");
        assert_eq!(screen.end(), "");
        assert_eq!(Screen::default().end(), "");
    }
}
