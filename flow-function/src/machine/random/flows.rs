//! Random flows, in the notation of YAML: nested, with every operation and attribute.

use std::fmt::Write as _;

use crate::dice::Dice;

/// Most nodes in a flow.
const NODES_MAX: usize = 40;

/// What a flow is drawn with.
struct Draw<'a> {
    dice: &'a mut Dice,
    prefix: &'static str,
    nodes: usize,
    nodes_max: usize,
}

/// A node in its graph: the line that declares it.
struct Graph {
    lines: Vec<(String, String)>,
}

/// A flow, and another version of it: names of the nodes that are the same in both.
pub(super) struct Drawn {
    pub(super) text: String,
    pub(super) other: String,
}

pub(super) fn flow(dice: &mut Dice) -> Drawn {
    let size = match dice.roll(10) {
        0..=5 => 8,
        6..=8 => 16,
        _ => NODES_MAX,
    };
    let mut draw = Draw {
        dice,
        prefix: "n",
        nodes: 0,
        nodes_max: size,
    };
    let graph = draw.graph(&[], 0);
    let handler = |draw: &mut Draw<'_>, key: &str, prefix| {
        if !draw.dice.chance(25) {
            return String::new();
        }
        (draw.prefix, draw.nodes_max) = (prefix, draw.nodes + 2);
        let lines = draw.graph(&[], 1).written();
        format!("{key}: {{ nodes: {{ {lines} }} }}\n")
    };
    let on_failure = handler(&mut draw, "on_failure", "f");
    let finally = handler(&mut draw, "finally", "z");
    let write = |graph: &Graph| {
        let mut text = "flow: random\ntimeout: 100s\nnodes:\n".to_owned();
        for (name, line) in &graph.lines {
            let _ = writeln!(text, "  {name}: {line}");
        }
        text + &on_failure + &finally
    };
    let text = write(&graph);
    let mut changed = Graph { lines: graph.lines };
    draw.prefix = "v";
    let at = draw.dice.roll(changed.lines.len());
    let line = &mut changed.lines[at].1;
    if let Some(rest) = line.strip_suffix(" }") {
        // The node is another, and does the same.
        *line = if line.contains("timeout:") {
            line.replace("timeout: ", "timeout: 1")
        } else {
            format!("{rest}, timeout: 77s }}")
        };
    }
    if draw.dice.chance(40) {
        let after = changed.lines[draw.dice.roll(changed.lines.len())].0.clone();
        changed.lines.push((
            "added".to_owned(),
            format!("{{ after: [{after}], apply: f }}"),
        ));
    }
    let other = write(&changed);
    Drawn { text, other }
}

/// A graph as `expand` returns it; `tag` keeps its names apart from the flow's.
pub(super) fn graph(dice: &mut Dice) -> String {
    let mut draw = Draw {
        dice,
        prefix: "x",
        nodes: 0,
        nodes_max: 4,
    };
    let lines = draw.graph(&[], 1).written();
    format!("{{ nodes: {{ {lines} }} }}")
}

impl Graph {
    fn written(&self) -> String {
        let lines = self.lines.iter();
        let lines: Vec<_> = lines
            .map(|(name, line)| format!("{name}: {line}"))
            .collect();
        lines.join(", ")
    }
}

impl Draw<'_> {
    fn graph(&mut self, outer: &[String], depth: usize) -> Graph {
        let left = self.nodes_max.saturating_sub(self.nodes).max(1);
        let most = if depth == 0 { left } else { left.min(3) };
        let count = if depth == 0 {
            most.div_ceil(3) + self.dice.roll(most.div_ceil(2))
        } else {
            1 + self.dice.roll(most)
        };
        let names: Vec<_> = (0..count)
            .map(|_| {
                self.nodes += 1;
                format!("{}{}", self.prefix, self.nodes)
            })
            .collect();
        let mut lines = Vec::new();
        let mut routed: Vec<Vec<usize>> = vec![Vec::new(); count];
        for ix in 0..count {
            let mut seen = outer.to_vec();
            seen.extend(names[..ix].iter().cloned());
            let mut parts = Vec::new();
            let after = self.after(&names[..ix], outer, &routed[ix], depth);
            if !after.is_empty() {
                parts.push(format!("after: [{}]", after.join(", ")));
            }
            parts.extend(self.operation(&names, ix, &mut routed, &seen, depth));
            lines.push((names[ix].clone(), format!("{{ {} }}", parts.join(", "))));
        }
        Graph { lines }
    }

    fn after(
        &mut self,
        before: &[String],
        outer: &[String],
        routed: &[usize],
        depth: usize,
    ) -> Vec<String> {
        let mut after: Vec<String> = Vec::new();
        for _ in 0..self.dice.roll(4) {
            let name = if !before.is_empty() && self.dice.chance(85) {
                let ix = self.dice.roll(before.len());
                if routed.contains(&ix) {
                    continue;
                }
                &before[ix]
            } else if !outer.is_empty() {
                &outer[self.dice.roll(outer.len())]
            } else {
                continue;
            };
            if !after.contains(name) {
                after.push(name.clone());
            }
        }
        if depth > 1 && self.dice.chance(30) {
            after.push("item".to_owned());
        } else if self.dice.chance(8) {
            after.push("input".to_owned());
        }
        let order = after.into_iter().map(|name| match self.dice.roll(8) {
            0 => format!("{{ node: {name}, data: false }}"),
            _ => name,
        });
        order.collect()
    }

    fn operation(
        &mut self,
        names: &[String],
        ix: usize,
        routed: &mut [Vec<usize>],
        seen: &[String],
        depth: usize,
    ) -> Vec<String> {
        let room = self.nodes < self.nodes_max && depth < 4;
        let mut parts = Vec::new();
        let (mut once, mut own_retry) = (false, true);
        match self.dice.roll(100) {
            0..=13 if ix + 1 < names.len() => {
                let mut cases = Vec::new();
                for _ in 0..1 + self.dice.roll(3) {
                    let to = ix + 1 + self.dice.roll(names.len() - ix - 1);
                    if !routed[to].contains(&ix) || self.dice.chance(20) {
                        routed[to].push(ix);
                        cases.push(format!("{{ when: '.', to: {} }}", names[to]));
                    }
                }
                if cases.is_empty() {
                    parts.push("pass: '.'".to_owned());
                } else {
                    parts.push(format!("switch: [{}]", cases.join(", ")));
                    if self.dice.chance(50) {
                        parts.push("match: all".to_owned());
                    }
                }
            }
            14..=25 if room => {
                let body = self.graph(seen, depth.max(1) + 1).written();
                let parallel = 1 + self.dice.roll(3);
                let errors = ["stop", "collect"][self.dice.roll(2)];
                parts.push(format!(
                    "for_each: {{ max_parallel: {parallel}, errors: {errors}, body: {{ nodes: {{ {body} }} }} }}"
                ));
            }
            26..=33 if room => {
                let body = self.graph(seen, depth.max(1) + 1).written();
                let bound = 1 + self.dice.roll(3);
                parts.push(format!(
                    "loop: {{ while: '.', max_iterations: {bound}, body: {{ nodes: {{ {body} }} }} }}"
                ));
            }
            34..=38 => parts.push("expand: { apply: f }".to_owned()),
            39..=42 => parts.push("wait: 5s".to_owned()),
            43..=44 => parts.push("wait: { until: '.' }".to_owned()),
            45..=48 => parts.push(format!("wait: {{ signal: s{} }}", self.dice.roll(2))),
            49..=53 => parts.push("apply: f, mode: async".to_owned()),
            54..=56 => parts.push("http: 'http://x', callback: true, idempotent: true".to_owned()),
            57..=60 => {
                once = self.dice.chance(30);
                parts.push("flow: child".to_owned());
            }
            61..=72 => {
                once = true;
                parts.push("apply: f".to_owned());
            }
            73..=80 => {
                parts.push("pass: '.'".to_owned());
                own_retry = false;
            }
            _ => parts.push("apply: f".to_owned()),
        }
        if once {
            parts.push("idempotent: false".to_owned());
        }
        self.attributes(&mut parts, once, own_retry);
        parts
    }

    fn attributes(&mut self, parts: &mut Vec<String>, once: bool, own_retry: bool) {
        if !once && own_retry && self.dice.chance(35) {
            parts.push(self.retry());
        }
        if self.dice.chance(12) {
            parts.push("when: '.'".to_owned());
        }
        match self.dice.roll(12) {
            0 => parts.push("fallback: { value: 7 }".to_owned()),
            1 => {
                let retry = self.retry();
                parts.push(format!("fallback: {{ apply: f, {retry} }}"));
            }
            2 => parts.push("fallback: { apply: f, idempotent: false, timeout: 20s }".to_owned()),
            _ => {}
        }
        match self.dice.roll(10) {
            0 => {
                let retry = self.retry();
                parts.push(format!("compensate: {{ apply: f, {retry} }}"));
            }
            1 => parts.push("compensate: { apply: f, idempotent: false }".to_owned()),
            _ => {}
        }
        if self.dice.chance(25) {
            parts.push("timeout: 30s".to_owned());
        }
        if self.dice.chance(8) {
            parts.push("set: { v: '.' }".to_owned());
        }
    }

    fn retry(&mut self) -> String {
        let attempts = 2 + self.dice.roll(2);
        let on = match self.dice.roll(4) {
            0 => ", on: [timeout, panic]",
            1 => ", on: [transient, unanswered]",
            _ => "",
        };
        format!("retry: {{ attempts: {attempts}, backoff: 1ms..2ms{on} }}")
    }
}
