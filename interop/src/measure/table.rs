//! A table for people: a row for each figure, a column for each program.

use crate::peer::Kind;

pub(super) struct Table {
    title: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    /// What ours is to be at most.
    target: Option<f64>,
    cells: Vec<(Kind, Cell)>,
}

/// A figure, and what is to be said about it.
struct Cell {
    value: f64,
    remark: String,
}

impl Table {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            rows: Vec::new(),
        }
    }

    fn row(&mut self, name: &str) -> &mut Row {
        let known = self.rows.iter().position(|row| row.name == name);
        let at = known.unwrap_or(self.rows.len());
        if known.is_none() {
            self.rows.push(Row {
                name: name.to_owned(),
                target: None,
                cells: Vec::new(),
            });
        }
        &mut self.rows[at]
    }

    /// Says what a figure of ours is to be at most.
    pub(super) fn promise(&mut self, row: &str, target: f64) {
        self.row(row).target = Some(target);
    }

    /// Adds a figure of one program.
    pub(super) fn add(&mut self, row: &str, kind: Kind, value: f64, remark: impl Into<String>) {
        let remark = remark.into();
        eprintln!("{}: {row}: {} {remark}", kind.name(), short(value));
        self.row(row).cells.push((kind, Cell { value, remark }));
    }

    /// Adds the median of what one program took, in milliseconds, and the worst.
    pub(super) fn add_median(&mut self, row: &str, kind: Kind, mut micros: Vec<u64>) {
        micros.sort_unstable();
        if let (Some(median), Some(worst)) = (micros.get(micros.len() / 2), micros.last()) {
            let worst = short(super::float(*worst) / 1e3);
            let remark = format!("worst of {}: {worst}", micros.len());
            self.add(row, kind, super::float(*median) / 1e3, remark);
        }
    }

    /// Prints it; each figure with how many times ours it is.
    pub(super) fn print(&self) {
        println!("\n{}\n", self.title);
        let names = Kind::ALL.map(|kind| format!(" {} |", kind.name()));
        println!("| | target |{}", names.concat());
        println!("|---|---|{}", "---|".repeat(Kind::ALL.len()));
        for row in &self.rows {
            let target = row.target.map_or_else(String::new, short);
            let cells: String = Kind::ALL.map(|kind| row.text(kind)).concat();
            println!("| {} | {target} |{cells}", row.name);
        }
    }
}

impl Row {
    fn text(&self, kind: Kind) -> String {
        let of = |kind| self.cells.iter().find(|(other, _)| *other == kind);
        let Some((_, cell)) = of(kind) else {
            return " |".to_owned();
        };
        let mut text = format!(" {}", short(cell.value));
        if kind == Kind::Vine {
            let missed = self.target.is_some_and(|target| cell.value > target);
            text += if missed { " MISSED" } else { "" };
        } else if let Some((_, ours)) = of(Kind::Vine).filter(|(_, ours)| ours.value > 0.0) {
            text += &format!(" = {} x", short(cell.value / ours.value));
        }
        if !cell.remark.is_empty() {
            text += &format!(" ({})", cell.remark);
        }
        text + " |"
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
