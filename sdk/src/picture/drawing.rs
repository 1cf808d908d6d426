//! Boxes and arrows in Graphviz's language and in Mermaid's.
//!
//! Names of nodes are letters, digits, `-` and `_`, unique in the flow; a prefix keeps them apart
//! from the languages' keywords. Labels may hold any text, and are escaped for their language.

use std::fmt::Write as _;

use crate::graph::{Edge, Flow, Formula, Graph, Operation, Source, Vertex};

/// Longest label, in characters; longer text is cut.
const LABEL_CHARS_MAX: usize = 60;

/// The flow in Graphviz's language.
#[must_use]
pub fn dot(flow: &Flow) -> String {
    let mut drawing = Drawing::new(&Dot);
    drawing.text = format!(
        "digraph \"{}\" {{\n  rankdir=LR; node [shape=box];\n  \"input\" [shape=oval];\n",
        flow.name()
    );
    drawing.graph(flow.graph(), None, 1);
    drawing.text + &drawing.arrows + "}\n"
}

/// The flow in Mermaid's language, for Markdown.
#[must_use]
pub fn mermaid(flow: &Flow) -> String {
    let mut drawing = Drawing::new(&Mermaid);
    drawing.text = "flowchart LR\n  input([input])\n".to_owned();
    drawing.graph(flow.graph(), None, 1);
    drawing.text + &drawing.arrows
}

/// How a language writes what a drawing is made of.
trait Language {
    fn node(&self, id: &str, label: &str, choice: bool) -> String;
    fn open(&self, id: &str) -> String;
    fn close(&self) -> &'static str;
    fn arrow(&self, from: Option<&str>, to: &str, label: Option<&str>) -> String;
}

struct Drawing<'a> {
    language: &'a dyn Language,
    text: String,
    /// Written last, outside all boxes: an arrow inside a box would pull both its ends into it.
    arrows: String,
}

impl<'a> Drawing<'a> {
    fn new(language: &'a dyn Language) -> Self {
        Self {
            language,
            text: String::new(),
            arrows: String::new(),
        }
    }

    fn line(&mut self, depth: usize, line: &str) {
        let _ = writeln!(self.text, "{:1$}{line}", "", depth * 2);
    }

    /// The nodes of a graph, bodies as nested boxes, and its edges. An item comes from the node
    /// that owns the body, a captured value from its source straight to where it is used.
    fn graph(&mut self, graph: &Graph, owner: Option<&str>, depth: usize) {
        for node in &graph.nodes {
            self.node(node, depth);
        }
        for node in &graph.nodes {
            for edge in node.edges.iter().filter(|edge| !edge.capture) {
                let (from, label) = match edge.from {
                    Source::Input => (owner, owner.map(|_| "item".to_owned())),
                    _ if &*edge.name == "input" => (None, None),
                    _ => (Some(&*edge.name), case_label(graph, edge)),
                };
                let arrow = self
                    .language
                    .arrow(from, node.id.as_str(), label.as_deref());
                let _ = writeln!(self.arrows, "  {arrow}");
            }
        }
    }

    fn node(&mut self, node: &Vertex, depth: usize) {
        let (id, name) = (node.id.as_str(), node.operation.name());
        let label = match &node.operation {
            Operation::Apply(apply) => format!("{id}: {name} {}", apply.function),
            _ => format!("{id}: {name}"),
        };
        let choice = matches!(node.operation, Operation::Switch(_));
        let drawn = self.language.node(id, &label, choice);
        self.line(depth, &drawn);
        if let Operation::ForEach(each) = &node.operation {
            let open = self.language.open(id);
            self.line(depth, &open);
            self.graph(&each.body, Some(id), depth + 1);
            let close = self.language.close();
            self.line(depth, close);
        }
    }
}

fn case_label(graph: &Graph, edge: &Edge) -> Option<String> {
    let (case, Source::Node(from)) = (edge.case?, edge.from) else {
        return None;
    };
    let Operation::Switch(switch) = &graph.nodes[from].operation else {
        return None;
    };
    let when = switch.cases.get(case).and_then(|case| case.when.as_ref());
    let source = match when {
        None => "default",
        Some(Formula::Jq(expression)) => expression.source(),
        Some(Formula::Closure(_)) => "closure",
    };
    // A label is one line.
    let words: Vec<_> = source.split_whitespace().collect();
    let mut label: String = words.join(" ");
    if let Some((end, _)) = label.char_indices().nth(LABEL_CHARS_MAX) {
        label.truncate(end);
        label.push('…');
    }
    Some(label)
}

struct Dot;

impl Dot {
    /// In a quoted string `\` begins an escape, and `&` an HTML entity.
    fn quoted(text: &str) -> String {
        let mut quoted = "\"".to_owned();
        for c in text.chars() {
            match c {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '&' => quoted.push_str("&amp;"),
                c if c.is_control() => quoted.push(' '),
                c => quoted.push(c),
            }
        }
        quoted + "\""
    }
}

impl Language for Dot {
    fn node(&self, id: &str, label: &str, choice: bool) -> String {
        let shape = if choice { ",shape=diamond" } else { "" };
        format!("\"n_{id}\" [label={}{shape}];", Self::quoted(label))
    }

    fn open(&self, id: &str) -> String {
        format!("subgraph \"cluster_{id}\" {{ label=\"each {id}\";")
    }

    fn close(&self) -> &'static str {
        "}"
    }

    fn arrow(&self, from: Option<&str>, to: &str, label: Option<&str>) -> String {
        let from = from.map_or("input".to_owned(), |id| format!("n_{id}"));
        match label {
            Some(label) => {
                format!("\"{from}\" -> \"n_{to}\" [label={}];", Self::quoted(label))
            }
            None => format!("\"{from}\" -> \"n_{to}\";"),
        }
    }
}

struct Mermaid;

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
    fn quoted(text: &str) -> String {
        let mut quoted = "\"".to_owned();
        for c in text.chars() {
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
        quoted + "\""
    }
}

impl Language for Mermaid {
    fn node(&self, id: &str, label: &str, choice: bool) -> String {
        let (id, label) = (Self::id(id), Self::quoted(label));
        if choice {
            format!("n_{id}{{{label}}}")
        } else {
            format!("n_{id}[{label}]")
        }
    }

    fn open(&self, id: &str) -> String {
        format!("subgraph s_{}[\"each {id}\"]", Self::id(id))
    }

    fn close(&self) -> &'static str {
        "end"
    }

    fn arrow(&self, from: Option<&str>, to: &str, label: Option<&str>) -> String {
        let from = from.map_or("input".to_owned(), |id| format!("n_{}", Self::id(id)));
        let to = Self::id(to);
        match label {
            Some(label) => format!("{from} -- {} --> n_{to}", Self::quoted(label)),
            None => format!("{from} --> n_{to}"),
        }
    }
}
