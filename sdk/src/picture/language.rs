//! The languages of pictures, Graphviz's and Mermaid's.
//!
//! Names of nodes are letters, digits, `-` and `_`; a prefix keeps them apart from the languages'
//! keywords and from the inputs of graphs. Labels may hold any text, and are escaped.

use std::fmt::Write as _;

/// How a language writes what a drawing is made of.
pub(super) trait Language {
    /// What a graph is given.
    fn input(&self, id: &str) -> String;
    /// A node with the lines of its label.
    fn node(&self, id: &str, label: &[String], choice: bool) -> String;
    /// The box of a body, or of a graph of its own.
    fn open(&self, id: &str, label: &str) -> String;
    fn close(&self) -> &'static str;
    /// An arrow from a node or an input; dashed where it brings no value.
    fn arrow(&self, from: End<'_>, to: &str, label: Option<&str>, data: bool) -> String;
}

/// Where an arrow comes from.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    Input(&'a str),
    Node(&'a str),
}

pub(super) struct Dot;

impl Dot {
    /// In a quoted string `\` begins an escape, and `&` an HTML entity.
    fn quoted(lines: &[impl AsRef<str>]) -> String {
        let mut quoted = "\"".to_owned();
        for (ix, line) in lines.iter().enumerate() {
            quoted.push_str(if ix == 0 { "" } else { "\\n" });
            for c in line.as_ref().chars() {
                match c {
                    '"' => quoted.push_str("\\\""),
                    '\\' => quoted.push_str("\\\\"),
                    '&' => quoted.push_str("&amp;"),
                    c if c.is_control() => quoted.push(' '),
                    c => quoted.push(c),
                }
            }
        }
        quoted + "\""
    }
}

impl Language for Dot {
    fn input(&self, id: &str) -> String {
        format!("\"{id}\" [shape=oval];")
    }

    fn node(&self, id: &str, label: &[String], choice: bool) -> String {
        let shape = if choice { ",shape=diamond" } else { "" };
        format!("\"n_{id}\" [label={}{shape}];", Self::quoted(label))
    }

    fn open(&self, id: &str, label: &str) -> String {
        format!("subgraph \"cluster_{id}\" {{ label=\"{label}\";")
    }

    fn close(&self) -> &'static str {
        "}"
    }

    fn arrow(&self, from: End<'_>, to: &str, label: Option<&str>, data: bool) -> String {
        let from = match from {
            End::Input(id) => id.to_owned(),
            End::Node(id) => format!("n_{id}"),
        };
        let label = label.map(|label| format!("label={}", Self::quoted(&[label])));
        let style = (!data).then(|| "style=dashed".to_owned());
        let said: Vec<_> = [label, style].into_iter().flatten().collect();
        let said = match said[..] {
            [] => String::new(),
            _ => format!(" [{}]", said.join(",")),
        };
        format!("\"{from}\" -> \"n_{to}\"{said};")
    }
}

pub(super) struct Mermaid;

impl Mermaid {
    /// `--` and a `-` at the end would begin an arrow; no name holds a dot, so that each stays one
    /// of its own.
    fn id(id: &str) -> String {
        if id.contains("--") || id.ends_with('-') {
            id.replace('-', ".")
        } else {
            id.to_owned()
        }
    }

    /// A quoted label shows HTML, and knows characters by `#NAME;` or `#NUMBER;`.
    fn quoted(lines: &[impl AsRef<str>]) -> String {
        let mut quoted = "\"".to_owned();
        for (ix, line) in lines.iter().enumerate() {
            quoted.push_str(if ix == 0 { "" } else { "<br/>" });
            for c in line.as_ref().chars() {
                match c {
                    '"' => quoted.push_str("#quot;"),
                    '<' => quoted.push_str("#lt;"),
                    '>' => quoted.push_str("#gt;"),
                    '&' => quoted.push_str("#amp;"),
                    '#' | '%' | '`' | '\\' | '{' | '}' => {
                        let _ = write!(quoted, "#{};", u32::from(c));
                    }
                    c if c.is_control() => quoted.push(' '),
                    c => quoted.push(c),
                }
            }
        }
        quoted + "\""
    }
}

impl Language for Mermaid {
    fn input(&self, id: &str) -> String {
        format!("{id}([{id}])")
    }

    fn node(&self, id: &str, label: &[String], choice: bool) -> String {
        let (id, label) = (Self::id(id), Self::quoted(label));
        if choice {
            format!("n_{id}{{{label}}}")
        } else {
            format!("n_{id}[{label}]")
        }
    }

    fn open(&self, id: &str, label: &str) -> String {
        format!("subgraph s_{}[\"{label}\"]", Self::id(id))
    }

    fn close(&self) -> &'static str {
        "end"
    }

    fn arrow(&self, from: End<'_>, to: &str, label: Option<&str>, data: bool) -> String {
        let from = match from {
            End::Input(id) => id.to_owned(),
            End::Node(id) => format!("n_{}", Self::id(id)),
        };
        let to = Self::id(to);
        let (line, head) = if data { ("--", "-->") } else { ("-.", ".->") };
        match label {
            Some(label) => format!("{from} {line} {} {head} n_{to}", Self::quoted(&[label])),
            None if data => format!("{from} --> n_{to}"),
            None => format!("{from} -.-> n_{to}"),
        }
    }
}
