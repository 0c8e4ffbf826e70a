//! A table for people: a row for each figure, a column for each program.

use crate::peer::Kind;

pub(super) struct Table {
    rows: Vec<(String, Vec<Option<Cell>>)>,
}

/// A figure, and what is to be said about it.
pub(super) struct Cell {
    value: f64,
    remark: String,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a figure of one program.
    pub(super) fn add(&mut self, row: &str, kind: Kind, value: f64, remark: impl Into<String>) {
        let known = self.rows.iter().position(|(name, _)| name == row);
        let at = known.unwrap_or_else(|| {
            let cells = Kind::ALL.iter().map(|_| None).collect();
            self.rows.push((row.to_owned(), cells));
            self.rows.len() - 1
        });
        let column = Kind::ALL.iter().position(|other| *other == kind);
        let cells = self.rows.get_mut(at).map(|(_, cells)| cells);
        let cell = column.and_then(|column| cells?.get_mut(column));
        if let Some(cell) = cell {
            *cell = Some(Cell {
                value,
                remark: remark.into(),
            });
        }
    }

    /// Adds the median of what one program took, and the worst.
    pub(super) fn add_median(&mut self, row: &str, kind: Kind, mut micros: Vec<u64>) {
        micros.sort_unstable();
        if let (Some(median), Some(worst)) = (micros.get(micros.len() / 2), micros.last()) {
            let remark = format!("worst {:.2}", super::float(*worst) / 1e3);
            self.add(row, kind, super::float(*median) / 1e3, remark);
        }
    }

    /// Prints it; each figure with how many times ours it is.
    pub(super) fn print(&self) {
        let names = Kind::ALL.map(|kind| format!(" {} |", kind.name()));
        println!("| |{}", names.concat());
        println!("|---|{}", "---|".repeat(Kind::ALL.len()));
        for (name, cells) in &self.rows {
            let ours = cells
                .first()
                .and_then(Option::as_ref)
                .map(|cell| cell.value);
            let texts = cells.iter().enumerate().map(|(column, cell)| {
                let Some(cell) = cell else {
                    return " |".to_owned();
                };
                let mut text = format!(" {}", short(cell.value));
                if let Some(ours) = ours.filter(|ours| column > 0 && *ours > 0.0) {
                    text += &format!(" = {} x", short(cell.value / ours));
                }
                if !cell.remark.is_empty() {
                    text += &format!(" ({})", cell.remark);
                }
                text + " |"
            });
            println!("| {name} |{}", texts.collect::<String>());
        }
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..0.01 => format!("{value:.5}"),
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
