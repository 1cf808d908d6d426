//! What `dev` is to start, read from files. A plan that exists has no problem that a file can show.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use turlough_gateway::{Stack, StackFunction};
use turlough_sdk::Flow;

use super::DevArguments;
use crate::amount;
use crate::document::{self, FLOWS_FOLDER, Flaw, STACK_FILES};
use crate::exit::Failure;
use crate::missing::{self, FLOWS_FUNCTION};
use crate::terminal::Terminal;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) stack: Option<Stack>,
    pub(super) flows: Vec<Flow>,
}

impl Plan {
    /// None where something is wrong, which has been told then.
    pub(super) fn read(
        terminal: Terminal,
        arguments: &DevArguments,
    ) -> Result<Option<Self>, Failure> {
        let stack_file = arguments.stack.clone().or_else(|| {
            let mut files = STACK_FILES.iter().map(PathBuf::from);
            files.find(|file| file.is_file())
        });
        let flow_files = flow_files(arguments, stack_file.as_deref())?;
        if stack_file.is_none() && flow_files.is_empty() {
            let text =
                "there is no stack.yaml and no folder `flows` here; name them with -f and --flows";
            return Err(Failure::input(anyhow!(text)));
        }
        let mut flaws = Vec::new();
        let flows = read_flows(&flow_files, &mut flaws);
        let stack = match stack_file.as_deref().map(document::read_stack) {
            Some(Err(flaw)) => {
                flaws.push(flaw);
                None
            }
            Some(Ok(stack)) => Some(stack),
            None => None,
        };
        if let (Some(stack), Some(file)) = (&stack, &stack_file) {
            flaws.extend(taken_name(stack, file, !flows.is_empty()));
        }
        if !flaws.is_empty() {
            for flaw in &flaws {
                terminal.note(&flaw.to_string());
            }
            terminal.note(&format!(
                "nothing was started: {}",
                amount::count(flaws.len(), "problem")
            ));
            return Ok(None);
        }
        let plan = Self { stack, flows };
        for warning in missing::warnings(plan.functions(), &plan.flows) {
            terminal.note(&warning);
        }
        Ok(Some(plan))
    }

    pub(super) fn functions(&self) -> &[StackFunction] {
        self.stack.as_ref().map_or(&[], Stack::functions)
    }
}

fn flow_files(
    arguments: &DevArguments,
    stack_file: Option<&Path>,
) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = arguments.flows.clone();
    if paths.is_empty() {
        let beside = stack_file.and_then(Path::parent).unwrap_or(Path::new(""));
        let folder = beside.join(FLOWS_FOLDER);
        if folder.is_dir() {
            paths.push(folder);
        }
    }
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = document::yaml_files(&path)?;
            if found.is_empty() && !arguments.flows.is_empty() {
                let text = format!(
                    "the folder `{}` holds no *.yaml and no *.yml",
                    path.display()
                );
                return Err(Failure::input(anyhow!(text)));
            }
            files.extend(found);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn read_flows(files: &[PathBuf], flaws: &mut Vec<Flaw>) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    for file in files {
        let read = document::read_text(file)
            .map_err(|flaw| vec![flaw])
            .and_then(|text| document::parse_flow(file, &text));
        match read {
            Ok(flow) if flows.iter().any(|other| other.name() == flow.name()) => {
                let text = format!("two flows are named {}; rename one", flow.name());
                flaws.push(Flaw::new(file, text));
            }
            Ok(flow) => flows.push(flow),
            Err(found) => flaws.extend(found),
        }
    }
    flows
}

/// The stack must leave the name under which the YAML flows are served.
fn taken_name(stack: &Stack, file: &Path, has_flows: bool) -> Option<Flaw> {
    let mut functions = stack.functions().iter();
    let taken = has_flows && functions.any(|f| f.spec.name.to_string() == FLOWS_FUNCTION);
    taken.then(|| {
        let text = format!(
            "function `{FLOWS_FUNCTION}` has the name under which the YAML flows are served; rename it"
        );
        Flaw::new(file, text)
    })
}
