//! How figures are told: a table for people, JSON for scripts, progress beside it.

use std::io::{IsTerminal, Write};

use clap::Args;
use serde_json::Value as Json;

#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArguments {
    /// How the result is written
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub(crate) output: String,

    /// Puts every sample into the JSON
    #[arg(long)]
    pub(crate) raw: bool,
}

impl OutputArguments {
    pub(crate) fn write(&self, report: &Json, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        if self.output == "json" {
            writeln!(out, "{report}")?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(())
    }
}

/// A line on a terminal; a script is not bothered.
pub(crate) fn progress(text: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        drop(writeln!(out, "turlough-loadtest: {text}"));
    }
}

/// Three significant digits or more.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The report of a series: a line per size, then what one more costs.
pub(crate) fn series(report: &Json, units: &str, unit: &str) -> String {
    let mut lines = vec![format!(
        "{:<24}{:>10}{:>12}{:>12}{:>12}{:>12}",
        "µs", "requests", "p50", "p90", "p99", "max"
    )];
    let mut line = |name: String, count: String, us: &Json| {
        let cell = |name: &str| us[name].as_f64().map_or_else(|| "–".to_owned(), number);
        let (p50, p90, p99, max) = (cell("p50"), cell("p90"), cell("p99"), cell("max"));
        lines.push(format!(
            "{name:<24}{count:>10}{p50:>12}{p90:>12}{p99:>12}{max:>12}"
        ));
    };
    for row in report["sizes"].as_array().into_iter().flatten() {
        line(
            format!("{units} {}", row["size"]),
            row["requests"].to_string(),
            &row["us"],
        );
    }
    line(
        format!("each further {unit}"),
        "–".into(),
        &report["each_us"],
    );
    let baseline = &report["baseline"];
    if baseline.is_object() {
        line(
            "one call by the client".into(),
            format!("{}x{}", baseline["turns"], baseline["calls_per_turn"]),
            &baseline["us_per_call"],
        );
    }
    if report["entry_us"].is_object() {
        line("one entry call".into(), "–".into(), &report["entry_us"]);
    }
    if let Some(ratio) = report["ratio"].as_f64() {
        lines.push(format!(
            "a {unit} costs {ratio:.3} times a call, by the median of the rounds"
        ));
    }
    if let Some(fixed) = report["fixed_us"].as_f64() {
        lines.push(format!(
            "a request costs {} µs besides its {units}",
            number(fixed)
        ));
    }
    if let Some(append) = report["append_us_mean"].as_f64() {
        lines.push(format!(
            "an append takes {} µs on the average",
            number(append)
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_a_line_per_size_and_leaves_out_what_was_not_measured() {
        let us = json!({ "p50": 530.0, "p90": 12.34, "p99": 1.5, "max": 1060.0 });
        let report = json!({
            "sizes": [{ "size": 10, "requests": 50, "us": us }],
            "each_us": { "p50": 30.0 },
        });
        let text = series(&report, "steps", "step");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("steps 10") && lines[1].contains("12.3"));
        assert!(lines[2].starts_with("each further step") && lines[2].ends_with('–'));
    }
}
