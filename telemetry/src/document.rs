//! The document of metrics, `docs/metrics.md`: a table for each process, written from the metrics that it
//! has. What stands around the tables is written by people.

use std::path::Path;

use crate::registry::{Metric, Registry};

/// Compares the table of `process` in the document at `path` with the metrics that there are. With `BLESS=1`
/// in the environment it writes the table. For tests.
///
/// # Errors
/// A document that cannot be read or written, has no place for the table (a line `<!-- metrics of PROCESS -->`
/// before it and `<!-- end -->` after it), or says something else: then what it should say.
pub fn check_document(path: &Path, process: &str, registry: &Registry) -> Result<(), String> {
    check(path, process, registry, std::env::var_os("BLESS").is_some())
}

fn check(path: &Path, process: &str, registry: &Registry, writes: bool) -> Result<(), String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let begin = format!("<!-- metrics of {process} -->\n");
    let place = text.split_once(&begin).and_then(|(before, rest)| {
        let (held, after) = rest.split_once("<!-- end -->")?;
        Some((before, held, after))
    });
    let (before, held, after) =
        place.ok_or_else(|| format!("{shown} has no {begin}… <!-- end -->"))?;
    let table = table(&registry.metrics());
    if held == table {
        return Ok(());
    }
    if writes {
        let written = format!("{before}{begin}{table}<!-- end -->{after}");
        return std::fs::write(path, written)
            .map_err(|error| format!("cannot write {shown}: {error}"));
    }
    Err(format!(
        "{shown} does not list the metrics of {process} as they are; run this test with BLESS=1 to write:\n{table}"
    ))
}

fn table(metrics: &[Metric]) -> String {
    let mut metrics: Vec<_> = metrics.iter().collect();
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut table =
        String::from("| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for Metric {
        name,
        kind,
        help,
        labels,
    } in metrics
    {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (unit, labels) = (unit(name), labels.join(", "));
        table.push_str(&format!(
            "| `{name}` | {kind} | {unit} | {labels} | {help} |\n"
        ));
    }
    table
}

/// By Prometheus's own rule for names: base units stand at their ends.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name {
        _ if name.ends_with("byte_seconds") => "byte-seconds",
        _ if name.ends_with("_seconds") => "seconds",
        _ if name.ends_with("bytes") || name.contains("_bytes_") => "bytes",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_says_something_else_is_found_out() {
        let path = std::env::temp_dir().join(format!("turlough-metrics-{}.md", std::process::id()));
        let registry = Registry::new("it", "1.2.3");
        registry.counters("it_wait_seconds_total", "Waited", &["why"]);
        let row = "| `it_wait_seconds_total` | counter | seconds | `why` | Waited |";
        std::fs::write(&path, "# A\n<!-- metrics of it -->\n<!-- end -->\nB").unwrap();
        let told = check(&path, "it", &registry, false).unwrap_err();
        assert!(told.contains(row), "{told}");
        let told = check(&path, "other", &registry, false).unwrap_err();
        assert!(told.contains("has no <!-- metrics of other -->"), "{told}");
        let table = table(&registry.metrics());
        std::fs::write(
            &path,
            format!("<!-- metrics of it -->\n{table}<!-- end -->"),
        )
        .unwrap();
        assert_eq!(check(&path, "it", &registry, false), Ok(()));
        std::fs::remove_file(&path).unwrap();
    }
}
