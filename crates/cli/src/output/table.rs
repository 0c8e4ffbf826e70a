use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::{Paint, escaped, styles};

/// Rows under titles, each column as wide as it must be.
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Text of one line, and how it looks.
#[derive(Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Text in a style; what is empty shows as `-`.
    pub(super) fn new(style: Style, text: &str) -> Self {
        let (text, style) = match text {
            "" => ("-".into(), styles::FAINT),
            text => (escaped(text), style),
        };
        Self {
            text: text.into_owned(),
            style,
        }
    }

    /// The text, made as wide as `width` columns of a terminal.
    pub(super) fn padded(&self, paint: Paint, align: Align, width: usize) -> String {
        let text = paint.paint(self.style, &self.text);
        let gap = " ".repeat(width.saturating_sub(self.width()));
        match align {
            Align::Left => text + &gap,
            Align::Right => gap + &text,
        }
    }

    pub(super) fn width(&self) -> usize {
        self.text.width()
    }
}

impl Table {
    pub(super) fn new<const N: usize>(columns: [(&'static str, Align); N]) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(cells.into());
    }

    /// Every line, titles first, with `indent` before it.
    pub(super) fn render(&self, paint: Paint, indent: &str) -> String {
        let titles: Vec<_> = self
            .columns
            .iter()
            .map(|(title, _)| Cell::new(styles::FAINT, title))
            .collect();
        let mut widths = vec![0; self.columns.len()];
        for row in self.rows.iter().chain([&titles]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let mut text = String::new();
        for row in [&titles].into_iter().chain(&self.rows) {
            text.push_str(indent);
            text.push_str(&self.line(row, &widths, paint));
            text.push('\n');
        }
        text
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint) -> String {
        let last = row.len().saturating_sub(1);
        let cells = row.iter().zip(&self.columns).zip(widths).enumerate();
        let cells = cells.map(|(at, ((cell, (_, align)), &width))| {
            // Nothing follows the last cell: no blanks there.
            let width = if at == last && *align == Align::Left {
                0
            } else {
                width
            };
            cell.padded(paint, *align, width)
        });
        cells.collect::<Vec<_>>().join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_in_any_script() {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("N", Align::Right),
            ("X", Align::Left),
        ]);
        let cell = |text| Cell::new(styles::NAME, text);
        table.row([cell("服务"), cell("1"), cell("a")]);
        table.row([cell("service"), cell("1000"), cell("")]);
        assert_eq!(
            table.render(Paint(false), "> "),
            "> NAME        N  X\n> 服务        1  a\n> service  1000  -\n"
        );
    }

    #[test]
    fn colours_take_no_room() {
        let mut table = Table::new([("A", Align::Left), ("B", Align::Left)]);
        table.row([Cell::new(styles::GOOD, "x"), Cell::new(styles::PLAIN, "y")]);
        let coloured = table.render(Paint(true), "");
        assert!(
            coloured.contains("\u{1b}[32mx\u{1b}[0m  y\n"),
            "{coloured:?}"
        );
    }
}
