//! What the doctor found, as people read it.

use vine::doctor::{Finding, InterfaceReport, Report};

use super::{
    Paint, escaped, styles,
    table::{Align, Cell, Table},
};

/// What was seen, then what is wrong, each with the remedy.
pub(crate) fn examination(report: &Report, paint: Paint) -> String {
    let mut text = interfaces(&report.interfaces).render(paint, "");
    let (port, dialect) = (report.port, report.dialect);
    let namespace = escaped(&report.namespace);
    let services = match report.services {
        0 => "no service".to_owned(),
        1 => "1 service".to_owned(),
        many => format!("{many} services"),
    };
    text.push_str(&format!(
        "\n{services} in namespace {namespace}, by {dialect} on port {port}\n"
    ));
    for finding in &report.findings {
        text.push_str(&paragraph(finding, styles::GONE, paint));
    }
    for note in &report.notes {
        text.push_str(&paragraph(note, styles::CHANGED, paint));
    }
    if report.ok {
        text.push_str(&format!("\n{}\n", paint.paint(styles::GOOD, "all is well")));
    }
    text
}

fn interfaces(interfaces: &[InterfaceReport]) -> Table {
    let mut table = Table::new([
        ("INTERFACE", Align::Left),
        ("ADDRESSES", Align::Left),
        ("ECHO", Align::Left),
        ("HEARD", Align::Left),
    ]);
    for one in interfaces {
        let echoes: Vec<_> = one
            .echoes
            .iter()
            .map(|echo| format!("{} {}", echo.family, if echo.heard { "yes" } else { "no" }))
            .collect();
        let style = match one.echoes.iter().all(|echo| echo.heard) {
            true => styles::GOOD,
            false => styles::GONE,
        };
        table.row([
            Cell::new(styles::NAME, &one.name),
            Cell::new(styles::PLAIN, &one.addresses.join(", ")),
            Cell::new(style, &echoes.join(", ")),
            Cell::new(styles::PLAIN, &one.heard.join(", ")),
        ]);
    }
    table
}

fn paragraph(finding: &Finding, style: anstyle::Style, paint: Paint) -> String {
    let cause = paint.paint(style, &finding.cause.to_string());
    let subject = match &*finding.subject {
        "" => String::new(),
        subject => format!(" ({})", escaped(subject)),
    };
    format!(
        "\n{cause}{subject}\n  {}\n  remedy: {}\n",
        escaped(&finding.message),
        escaped(&finding.remedy)
    )
}
