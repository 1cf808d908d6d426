//! `turlough validate`: every problem of every file, without a platform.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use turlough_gateway::Stack;
use turlough_sdk::Flow;

use crate::amount;
use crate::document::{self, FLOWS_FOLDER, Flaw, Kind};
use crate::exit::{Exit, Failure};
use crate::missing;
use crate::terminal::Terminal;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  turlough validate flows/fizz-buzz.yaml
  turlough validate .
  turlough validate flows stack.yaml --output json | jq -r '.problems[].message'

Of a folder, its *.yaml and *.yml files and those in its folder `flows` are checked; files that are
neither flows nor stacks are passed over.")]
pub(crate) struct ValidateArguments {
    /// Flows, stack files, or folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Default)]
struct Checked {
    flows: usize,
    stacks: usize,
    flaws: Vec<Flaw>,
    /// Where each flow's name was seen first; two of one name cannot be served together.
    names: HashMap<String, PathBuf>,
    valid_flows: Vec<Flow>,
    valid_stacks: Vec<Stack>,
}

pub(crate) fn validate(terminal: Terminal, arguments: &ValidateArguments) -> Result<Exit, Failure> {
    let mut checked = Checked::default();
    for path in &arguments.paths {
        if path.is_dir() {
            checked.folder(path)?;
        } else {
            checked.file(path, true);
        }
    }
    let warnings = checked.warnings();
    if terminal.is_json() {
        terminal.json(&json!({
            "flows": checked.flows,
            "stacks": checked.stacks,
            "problems": checked.flaws,
            "warnings": warnings,
        }))?;
    } else {
        for flaw in &checked.flaws {
            terminal.line(&flaw.to_string())?;
        }
        for warning in &warnings {
            terminal.note(&format!("warning: {warning}"));
        }
        terminal.progress(&checked.summary());
    }
    Ok(if checked.flaws.is_empty() {
        Exit::Ok
    } else {
        Exit::BadInput
    })
}

impl Checked {
    fn folder(&mut self, folder: &Path) -> Result<(), Failure> {
        let before = self.flows + self.stacks;
        let mut files = document::yaml_files(folder)?;
        let flows = folder.join(FLOWS_FOLDER);
        if flows.is_dir() {
            files.extend(document::yaml_files(&flows)?);
        }
        for file in files {
            self.file(&file, false);
        }
        if self.flows + self.stacks == before {
            let text = "there is no flow and no stack file here; name the file, or another folder";
            self.flaws.push(Flaw::new(folder, text.to_owned()));
        }
        Ok(())
    }

    /// A file that was named is a flow unless it is a stack; one that lay in a folder may be neither.
    fn file(&mut self, file: &Path, named: bool) {
        let text = match document::read_text(file) {
            Ok(text) => text,
            Err(flaw) => return self.flaws.push(flaw),
        };
        match Kind::of(&text) {
            Kind::Stack => {
                self.stacks += 1;
                match document::read_stack(file) {
                    Ok(stack) => self.valid_stacks.push(stack),
                    Err(flaw) => self.flaws.push(flaw),
                }
            }
            Kind::Other if !named => {}
            Kind::Flow | Kind::Other => {
                self.flows += 1;
                match document::parse_flow(file, &text) {
                    Ok(flow) => {
                        self.name(file, flow.name().as_str());
                        self.valid_flows.push(flow);
                    }
                    Err(flaws) => self.flaws.extend(flaws),
                }
            }
        }
    }

    fn name(&mut self, file: &Path, name: &str) {
        let first = self
            .names
            .entry(name.to_owned())
            .or_insert_with(|| file.to_owned());
        if first != file {
            let text = format!(
                "flow {name}: `{}` has a flow of that name too",
                first.display()
            );
            self.flaws.push(Flaw::new(file, text));
        }
    }

    /// What can be said only where a stack was looked at too, and everything could be read.
    fn warnings(&self) -> Vec<String> {
        if self.stacks == 0 || !self.flaws.is_empty() {
            return Vec::new();
        }
        let functions = self.valid_stacks.iter().flat_map(Stack::functions);
        missing::warnings(functions, &self.valid_flows)
    }

    fn summary(&self) -> String {
        let problems = match self.flaws.len() {
            0 => "no problems".to_owned(),
            found => amount::count(found, "problem"),
        };
        format!(
            "{}, {}: {problems}",
            amount::count(self.flows, "flow"),
            amount::count(self.stacks, "stack")
        )
    }
}
