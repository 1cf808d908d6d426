//! What is to be deployed, read from a folder. A plan that exists has no problem that a file can show.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use turlough_gateway::{DeployableFunction, DeployableStack, FunctionName};
use turlough_sdk::Flow;

use super::DeployArguments;
use crate::document::{self, FLOWS_FOLDER, Flaw, Kind, STACK_FILES};
use crate::exit::Failure;
use crate::platform::FLOW_FUNCTION_LABEL;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) functions: Vec<DeployableFunction>,
    pub(super) flows: Vec<PlannedFlow>,
    /// The flow-functions of the whole stack, also where not all of it is deployed.
    pub(super) flow_functions: Vec<FunctionName>,
}

/// A flow that is put to a flow-function once that serves.
#[derive(Debug)]
pub(super) struct PlannedFlow {
    pub(super) file: PathBuf,
    pub(super) flow: Flow,
    pub(super) text: String,
    /// The function in whose own folder it lies; one of the folder's `flows` goes to whichever is meant.
    pub(super) of: Option<FunctionName>,
}

impl Plan {
    /// All problems of all files, where there are any.
    pub(super) fn read(
        folder: &Path,
        arguments: &DeployArguments,
    ) -> Result<Result<Self, Vec<Flaw>>, Failure> {
        let mut flaws = Vec::new();
        let files = STACK_FILES.iter().map(|name| folder.join(name));
        let stack_file = files.into_iter().find(|file| file.is_file());
        let stack = stack_file.as_deref().map(document::read_deployable_stack);
        let functions = match stack {
            Some(Ok(stack)) => in_namespace(stack, arguments)?,
            Some(Err(flaw)) => {
                flaws.push(flaw);
                Vec::new()
            }
            None => Vec::new(),
        };
        let is_flow_function = |function: &&DeployableFunction| {
            let label = function.spec.labels.get(FLOW_FUNCTION_LABEL);
            label.is_some_and(|value| value == "true")
        };
        let labelled: Vec<_> = functions.iter().filter(is_flow_function).collect();
        let mut flows = Vec::new();
        for (file, of) in flow_files(folder, stack_file.is_some(), &labelled)? {
            match read_flow(file, of) {
                Ok(flow) => flows.push(flow),
                Err(found) => flaws.extend(found),
            }
        }
        flaws.extend(same_names(&flows));
        if !flaws.is_empty() {
            return Ok(Err(flaws));
        }
        if functions.is_empty() && flows.is_empty() {
            let text = format!(
                "there is no stack.yaml and no flow in `{}`; name the folder that has them",
                folder.display()
            );
            return Err(Failure::input(anyhow!(text)));
        }
        let flow_functions = labelled.iter().map(|it| it.spec.name.clone()).collect();
        let plan = Self {
            functions,
            flows,
            flow_functions,
        };
        plan.only(&arguments.only).map(Ok)
    }

    /// What templates of flow-functions make, and nobody would know as such.
    pub(super) fn warnings(&self) -> Vec<String> {
        let unlabelled = self.functions.iter().filter(|function| {
            let lang = function.lang.split('@').next().unwrap_or_default();
            matches!(lang, "rust-flow" | "yaml-flow")
                && !self.flow_functions.contains(&function.spec.name)
        });
        let warning = |function: &DeployableFunction| {
            format!(
                "function {} is a flow-function by its lang, and has no label {FLOW_FUNCTION_LABEL}: \"true\"; \
                 turlough does not find its flows without",
                function.spec.name
            )
        };
        unlabelled.map(warning).collect()
    }

    /// Leaves those of these names, or all where there are none.
    fn only(mut self, names: &[String]) -> Result<Self, Failure> {
        if names.is_empty() {
            return Ok(self);
        }
        let of_function =
            |it: &DeployableFunction| [it.spec.name.name().to_owned(), it.spec.name.to_string()];
        let of_flow = |it: &PlannedFlow| it.flow.name().to_string();
        for name in names {
            let is_function = self
                .functions
                .iter()
                .any(|it| of_function(it).contains(name));
            if !is_function && !self.flows.iter().any(|it| of_flow(it) == *name) {
                let functions = self.functions.iter().map(|it| it.spec.name.to_string());
                let known: Vec<_> = functions.chain(self.flows.iter().map(of_flow)).collect();
                let text = format!(
                    "no function and no flow is named `{name}`; there is {}",
                    known.join(", ")
                );
                return Err(Failure::input(anyhow!(text)));
            }
        }
        let is_named = |name: &String| names.contains(name);
        self.functions
            .retain(|function| of_function(function).iter().any(is_named));
        self.flows.retain(|flow| is_named(&of_flow(flow)));
        Ok(self)
    }
}

fn in_namespace(
    stack: DeployableStack,
    arguments: &DeployArguments,
) -> Result<Vec<DeployableFunction>, Failure> {
    let mut functions = stack.into_functions();
    if let Some(namespace) = &arguments.namespace {
        for function in &mut functions {
            let name = FunctionName::new(function.spec.name.name(), namespace);
            function.spec.name = name.map_err(Failure::input)?;
        }
    }
    Ok(functions)
}

/// The files of `flows` beside the stack, and in the folders of flow-functions, which take their own. A
/// folder without either is a folder of flows.
fn flow_files(
    folder: &Path,
    has_stack: bool,
    flow_functions: &[&DeployableFunction],
) -> Result<Vec<(PathBuf, Option<FunctionName>)>, Failure> {
    let mut files = Vec::new();
    let mut owned = Vec::new();
    for function in flow_functions {
        let flows = function.handler.as_ref().map(|it| it.join(FLOWS_FOLDER));
        if let Some(flows) = flows.filter(|flows| flows.is_dir()) {
            let name = Some(function.spec.name.clone());
            let found = document::yaml_files(&flows)?;
            files.extend(found.into_iter().map(|file| (file, name.clone())));
            owned.extend(flows.canonicalize());
        }
    }
    let beside = folder.join(FLOWS_FOLDER);
    if beside.is_dir() {
        let is_owned = beside.canonicalize().is_ok_and(|it| owned.contains(&it));
        if !is_owned {
            let found = document::yaml_files(&beside)?;
            files.extend(found.into_iter().map(|file| (file, None)));
        }
    } else if !has_stack {
        let is_flow = |file: &PathBuf| {
            document::read_text(file).is_ok_and(|text| Kind::of(&text) == Kind::Flow)
        };
        let found = document::yaml_files(folder)?.into_iter().filter(is_flow);
        files.extend(found.map(|file| (file, None)));
    }
    Ok(files)
}

fn read_flow(file: PathBuf, of: Option<FunctionName>) -> Result<PlannedFlow, Vec<Flaw>> {
    let text = document::read_text(&file).map_err(|flaw| vec![flaw])?;
    let flow = document::parse_flow(&file, &text)?;
    Ok(PlannedFlow {
        file,
        flow,
        text,
        of,
    })
}

/// Two flows of one name cannot be served together.
fn same_names(flows: &[PlannedFlow]) -> Vec<Flaw> {
    let mut first = HashMap::new();
    let mut flaws = Vec::new();
    for flow in flows {
        let name = flow.flow.name();
        let held = first.entry((&flow.of, name.as_str())).or_insert(&flow.file);
        if *held != &flow.file {
            let text = format!(
                "flow {name}: `{}` has a flow of that name too",
                held.display()
            );
            flaws.push(Flaw::new(&flow.file, text));
        }
    }
    flaws
}
