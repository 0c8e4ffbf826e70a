//! What is printed: for people or for programs, with or without colours.

mod calls;
mod describe;
mod examination;
mod lines;
mod parts;
mod reader;
mod table;
mod text;

use std::io::{IsTerminal, Write};

use anstyle::Style;
use serde::Serialize;
use tokio::io::AsyncWriteExt;

pub(crate) use calls::{Considered, Measured, calls, considered, measured};
pub(crate) use describe::{describe, summaries};
pub(crate) use examination::examination;
pub(crate) use lines::Lines;
pub(crate) use parts::Parts;
pub(crate) use reader::reader_gone;
pub(crate) use text::escaped;

use crate::{
    args::{Color, Format, OutputFlags},
    failure::Failure,
};

/// Standard output and how to write there.
pub(crate) struct Output {
    format: Format,
    paint: Paint,
    stdout: tokio::io::Stdout,
}

impl Output {
    pub(crate) fn new(flags: &OutputFlags) -> Self {
        let colours = match flags.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::io::stdout().is_terminal()
                    && !anstyle_query::no_color()
                    && anstyle_query::term_supports_color()
            }
        };
        if colours {
            // Older terminals of Windows show escape sequences as they are until told not to.
            let _ = anstyle_query::windows::enable_ansi_colors();
        }
        Self {
            format: flags.format,
            paint: Paint(colours),
            stdout: tokio::io::stdout(),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Prints at once.
    pub(crate) async fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.stdout.write_all(text.as_bytes()).await?;
        Ok(self.stdout.flush().await?)
    }

    /// Prints bytes from elsewhere, as they come.
    pub(crate) fn parts(&mut self) -> Parts<'_> {
        Parts::new(self)
    }

    /// Prints a value as JSON over several lines.
    pub(crate) async fn json(&mut self, value: &(impl Serialize + Sync)) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value).map_err(not_json)?;
        self.print(&(text::escaped_json(json) + "\n")).await
    }

    /// Prints a value as JSON in one line.
    pub(crate) async fn json_line(
        &mut self,
        value: &(impl Serialize + Sync),
    ) -> Result<(), Failure> {
        let json = serde_json::to_string(value).map_err(not_json)?;
        self.print(&(text::escaped_json(json) + "\n")).await
    }

    /// Tells a person several lines beside the output, on standard error. They are escaped already.
    pub(crate) fn explain(&self, text: &str) {
        // Without a standard error there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    }

    /// Tells a person something beside the output, on standard error.
    pub(crate) fn note(&self, note: &str) {
        // Without a standard error there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{}", escaped(note));
    }
}

fn not_json(error: serde_json::Error) -> Failure {
    Failure::Failed(format!("can't write JSON: {error}"))
}

/// Whether to use colours.
#[derive(Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// The text in this style, if colours are wanted.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// The colours, by meaning.
pub(crate) mod styles {
    use anstyle::{AnsiColor, Style};

    pub(crate) const PLAIN: Style = Style::new();
    pub(crate) const NAME: Style = Style::new().bold();
    pub(crate) const FAINT: Style = Style::new().dimmed();
    pub(crate) const VERSION: Style = AnsiColor::Cyan.on_default();
    pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
    pub(crate) const CHANGED: Style = AnsiColor::Yellow.on_default();
    pub(crate) const GONE: Style = AnsiColor::Red.on_default();
    pub(crate) const WARNING: Style = AnsiColor::Magenta.on_default();
}
