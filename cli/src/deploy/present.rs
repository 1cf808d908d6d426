//! What is at the gateway before anything is changed there: what a deployment needs and would be refused
//! without, and what tells whether a function will be replaced. Nothing but GET is sent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use reqwest::StatusCode;
use serde_json::Value as Json;
use turlough_gateway::{DEFAULT_NAMESPACE, Deployment, FunctionName};

use super::plan::Plan;
use crate::exit::Failure;
use crate::platform::{FLOW_FUNCTION_LABEL, Platform};

/// What `turlough-gateway` and `turlough dev` say that they are.
const OWN_PROVIDER: &str = "turlough-gateway";

/// What a process of a function is made of; what else a deployment says may change beside it.
const OF_PROCESS: [&str; 4] = ["image", "envVars", "secrets", "limits"];

#[derive(Debug)]
pub(super) struct Present {
    functions: BTreeMap<FunctionName, Json>,
    /// The gateway runs commands, in folders of this machine.
    pub(super) runs_here: bool,
}

impl Present {
    /// Reads the namespaces of the plan and the default one.
    pub(super) async fn read(platform: &Platform, plan: &Plan) -> Result<Self, Failure> {
        let of_plan = plan.functions.iter().map(|it| &it.spec.name);
        let of_plan = of_plan.chain(&plan.flow_functions);
        let mut namespaces: BTreeSet<_> = of_plan.map(FunctionName::namespace).collect();
        namespaces.insert(DEFAULT_NAMESPACE);
        let mut functions = BTreeMap::new();
        for namespace in &namespaces {
            functions.extend(list(platform, namespace).await?);
        }
        check_namespaces(platform, &namespaces).await?;
        check_secrets(platform, plan).await?;
        Ok(Self {
            functions,
            runs_here: platform.is_here() && is_own(platform).await?,
        })
    }

    pub(super) fn has(&self, function: &FunctionName) -> bool {
        self.functions.contains_key(function)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &FunctionName> {
        self.functions.keys()
    }

    /// Those that serve flows, by their labels.
    pub(super) fn flow_functions(&self) -> impl Iterator<Item = &FunctionName> {
        let labelled = |status: &Json| status["labels"][FLOW_FUNCTION_LABEL] == "true";
        let functions = self.functions.iter();
        functions.filter_map(move |(name, status)| labelled(status).then_some(name))
    }

    /// Whether other processes take the place of those that run, as far as the gateway tells.
    pub(super) fn replaces(&self, function: &FunctionName, by: &Deployment) -> bool {
        let Some(held) = self.functions.get(function) else {
            return false;
        };
        let wanted = serde_json::to_value(by).unwrap_or_default();
        let differs = |field: &str| {
            let (wanted, held) = (&wanted[field], &held[field]);
            wanted != held && !(is_empty(wanted) && is_empty(held))
        };
        // Where the stack leaves the command to the image, a gateway may tell the image's.
        let process = is_empty(&wanted["envProcess"]) || !differs("envProcess");
        !process
            || OF_PROCESS.iter().any(|field| differs(field))
            || own_annotations(&wanted) != own_annotations(held)
    }
}

/// Those that say how a function's process is run. One that is left out has an effect as one that is there.
fn own_annotations(function: &Json) -> BTreeMap<&str, &Json> {
    let all = function["annotations"].as_object().into_iter().flatten();
    let all = all.map(|(name, value)| (name.as_str(), value));
    all.filter(|(name, _)| name.starts_with("turlough."))
        .collect()
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(list) => list.is_empty(),
        Json::Object(map) => map.is_empty(),
        _ => false,
    }
}

async fn list(
    platform: &Platform,
    namespace: &str,
) -> Result<BTreeMap<FunctionName, Json>, Failure> {
    let path = match namespace {
        DEFAULT_NAMESPACE => "/system/functions".to_owned(),
        _ => format!("/system/functions?namespace={namespace}"),
    };
    let answer = platform.get(&path).await?;
    let what = format!("list the functions of {}", platform.base());
    let listed: Vec<Json> = answer.json(&what)?;
    let named = |status: Json| {
        let name = FunctionName::new(status["name"].as_str()?, namespace).ok()?;
        Some((name, status))
    };
    Ok(listed.into_iter().filter_map(named).collect())
}

/// A gateway that keeps no namespaces has the default one.
async fn check_namespaces(platform: &Platform, wanted: &BTreeSet<&str>) -> Result<(), Failure> {
    if wanted.iter().all(|name| *name == DEFAULT_NAMESPACE) {
        return Ok(());
    }
    let answer = platform.get("/system/namespaces").await?;
    let known: Vec<String> = match answer.status {
        StatusCode::NOT_FOUND => Vec::new(),
        _ => answer.json(&format!("list the namespaces of {}", platform.base()))?,
    };
    let is_missing =
        |name: &&&str| **name != DEFAULT_NAMESPACE && !known.iter().any(|it| it == *name);
    match wanted.iter().find(is_missing) {
        None => Ok(()),
        Some(missing) => Err(Failure::input(anyhow!(
            "there is no namespace `{missing}` at {}; make it with `faas-cli namespace create {missing}`",
            platform.base()
        ))),
    }
}

async fn check_secrets(platform: &Platform, plan: &Plan) -> Result<(), Failure> {
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for function in &plan.functions {
        let spec = &function.spec;
        let secrets = wanted.entry(spec.name.namespace()).or_default();
        secrets.extend(spec.secrets.iter().map(String::as_str));
    }
    for (namespace, secrets) in wanted.into_iter().filter(|(_, it)| !it.is_empty()) {
        let path = format!("/system/secrets?namespace={namespace}");
        let answer = platform.get(&path).await?;
        let what = format!("list the secrets of {}", platform.base());
        let known: Vec<Json> = answer.json(&what)?;
        let is_known = |secret: &str| known.iter().any(|it| it["name"] == secret);
        let missing: Vec<_> = secrets.into_iter().filter(|it| !is_known(it)).collect();
        if let Some(first) = missing.first() {
            return Err(Failure::input(anyhow!(
                "there is no secret {} in namespace {namespace} at {}; make it with `faas-cli secret create \
                 {first}`",
                missing.join(", "),
                platform.base()
            )));
        }
    }
    Ok(())
}

/// Providers that say nothing of themselves are somebody else's.
async fn is_own(platform: &Platform) -> Result<bool, Failure> {
    let answer = platform.get("/system/info").await?;
    let info: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok(info["provider"]["provider"] == OWN_PROVIDER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_process_is_made_of_replaces_it_and_what_stands_beside_does_not() {
        let deployment = |annotations: Json, extra: Json| -> Json {
            let mut it = json!({ "service": "it", "image": "it:1", "annotations": annotations });
            let extra = extra.as_object().unwrap().clone();
            it.as_object_mut().unwrap().extend(extra);
            it
        };
        let same = json!({ "turlough.mode": "http", "topic": "a" });
        let held = || deployment(same.clone(), json!({ "envProcess": "python3 it.py" }));
        let replaces = |wanted: Json| {
            let name = FunctionName::new("it", DEFAULT_NAMESPACE).unwrap();
            let present = Present {
                functions: BTreeMap::from([(name.clone(), held())]),
                runs_here: true,
            };
            let wanted: Deployment = serde_json::from_value(wanted).unwrap();
            present.replaces(&name, &wanted)
        };
        assert!(!replaces(held()));
        assert!(!replaces(deployment(same.clone(), json!({}))));
        let topic = json!({ "turlough.mode": "http", "topic": "b" });
        assert!(!replaces(deployment(topic, json!({}))));
        assert!(!replaces(deployment(
            same.clone(),
            json!({ "labels": { "a": "b" } })
        )));
        for annotations in [
            json!({ "turlough.mode": "fork", "topic": "a" }),
            json!({ "topic": "a" }),
            json!({ "turlough.mode": "http", "turlough.read_timeout": "5s" }),
        ] {
            assert!(
                replaces(deployment(annotations.clone(), json!({}))),
                "{annotations}"
            );
        }
        for extra in [
            json!({ "image": "it:2" }),
            json!({ "envVars": { "A": "b" } }),
            json!({ "secrets": ["key"] }),
            json!({ "envProcess": "python3 other.py" }),
        ] {
            assert!(replaces(deployment(same.clone(), extra.clone())), "{extra}");
        }
    }
}
