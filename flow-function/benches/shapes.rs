//! The graphs that the machine is measured on.
//!
//! Montage and Epigenomics are two scientific workflows in the sizes in which they are often used, as
//! the WfCommons project published them (`montage-chameleon-dss-15d`, 2,122 tasks;
//! `epigenomics-chameleon-ilmn-6seq-50k`, 1,695 tasks; github.com/wfcommons/pegasus-instances), level
//! by level with their fan-ins and fan-outs.

use std::fmt::Write as _;
use std::sync::Arc;

use turlough_sdk::{Flow, read_yaml};

/// A flow in the notation of YAML.
pub(crate) struct Text(String);

impl Text {
    fn new(name: &str) -> Self {
        Self(format!("flow: {name}\nnodes:\n"))
    }

    fn node(&mut self, name: &str, after: &[String]) {
        if after.is_empty() {
            writeln!(self.0, "  {name}: {{ apply: f }}").unwrap();
        } else {
            let after = after.join(", ");
            writeln!(self.0, "  {name}: {{ after: [{after}], apply: f }}").unwrap();
        }
    }

    pub(crate) fn flow(&self) -> Arc<Flow> {
        Arc::new(read_yaml(&self.0).unwrap_or_else(|error| panic!("{error}")))
    }
}

/// One after the other.
pub(crate) fn chain(nodes: usize) -> Text {
    let mut text = Text::new("chain");
    for node in 0..nodes {
        let after = node.checked_sub(1).map(|before| format!("n{before}"));
        text.node(&format!("n{node}"), after.as_slice());
    }
    text
}

/// Items of a `for_each`, all in progress at once, or as many as may be.
pub(crate) fn fan_out(items: usize) -> Text {
    let parallel = items.min(turlough_sdk::Limits::PARALLEL_MAX);
    Text(format!(
        "flow: fan-out\nnodes:\n  all:\n    for_each:\n      max_parallel: {parallel}\n      \
         body: {{ nodes: {{ one: {{ apply: f }} }} }}\n"
    ))
}

/// Layers of nodes, each after three of the layer before it.
pub(crate) fn layered(layers: usize, width: usize) -> Text {
    let mut text = Text::new("layered");
    let name = |layer: usize, at: usize| format!("l{layer}-{}", at % width);
    for layer in 0..layers {
        for at in 0..width {
            let before = layer.checked_sub(1).into_iter();
            let after = before.flat_map(|before| (0..3).map(move |next| name(before, at + next)));
            text.node(&name(layer, at), &after.collect::<Vec<_>>());
        }
    }
    text
}

/// A mosaic in three colours, each of 36 images that all overlap one another: 3 × (36 projections,
/// 630 fits of two images, their concatenation, the model of the background, 36 corrections, a table,
/// a sum, a picture), and a picture of the three sums.
pub(crate) fn montage() -> Text {
    const IMAGES: usize = 36;
    let mut text = Text::new("montage");
    let names = |kind: &str, colour: usize| -> Vec<_> {
        (0..IMAGES)
            .map(|image| format!("{kind}{colour}-{image}"))
            .collect()
    };
    let mut sums = Vec::new();
    for colour in 0..3 {
        let project = names("project", colour);
        project.iter().for_each(|node| text.node(node, &[]));
        let mut fits = Vec::new();
        for first in 0..IMAGES {
            for second in first + 1..IMAGES {
                let fit = format!("fit{colour}-{first}-{second}");
                text.node(&fit, &[project[first].clone(), project[second].clone()]);
                fits.push(fit);
            }
        }
        let one = |kind: &str| format!("{kind}{colour}");
        text.node(&one("concat"), &fits);
        text.node(&one("model"), &[one("concat")]);
        let mut corrected = names("background", colour);
        for (image, node) in corrected.iter().enumerate() {
            text.node(node, &[one("model"), project[image].clone()]);
        }
        text.node(&one("table"), &corrected);
        corrected.push(one("table"));
        text.node(&one("add"), &corrected);
        text.node(&one("view"), &[one("add")]);
        sums.push(one("add"));
    }
    text.node("view", &sums);
    text
}

/// Six lanes of a sequencer, split into 59 to 75 chunks; four steps in a row for each chunk, then the
/// merges of the lanes, of all, and two steps on the whole.
pub(crate) fn epigenomics() -> Text {
    let mut text = Text::new("epigenomics");
    let mut merges = Vec::new();
    for (lane, chunks) in [59, 68, 69, 74, 75, 75].into_iter().enumerate() {
        let split = format!("split{lane}");
        text.node(&split, &[]);
        let mut mapped = Vec::new();
        for chunk in 0..chunks {
            let mut before = split.clone();
            for kind in ["filter", "sanger", "bfq", "map"] {
                let node = format!("{kind}{lane}-{chunk}");
                text.node(&node, &[before]);
                before = node;
            }
            mapped.push(before);
        }
        let merge = format!("merge{lane}");
        text.node(&merge, &mapped);
        merges.push(merge);
    }
    text.node("merge", &merges);
    text.node("index", &["merge".to_owned()]);
    text.node("pileup", &["index".to_owned()]);
    text
}
