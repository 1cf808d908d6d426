//! Which functions of a gateway are flow-functions, and what each of them serves.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::anyhow;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use turlough_gateway::DEFAULT_NAMESPACE;
use turlough_sdk::{FlowName, FunctionName, RequestId};

use super::{Answer, Platform};
use crate::exit::Failure;

/// The label by which a flow-function is told from others.
pub(crate) const FLOW_FUNCTION_LABEL: &str = "turlough.flow-function";

/// Functions asked at once.
const ASKED_MAX: usize = 16;

/// `FLOW`, or `FUNCTION/FLOW` where several functions serve one of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlowRef {
    pub(crate) function: Option<FunctionName>,
    pub(crate) flow: FlowName,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServedFlow {
    pub(crate) flow: String,
    pub(crate) function: String,
    pub(crate) version: String,
    pub(crate) nodes: u64,
}

/// All flows behind a gateway.
#[derive(Debug)]
pub(crate) struct Catalog {
    gateway: String,
    pub(crate) functions: Vec<String>,
    pub(crate) flows: Vec<ServedFlow>,
    /// What the functions said that could not tell their flows.
    pub(crate) silent: Vec<String>,
}

/// A request, and the function that has it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) function: String,
    pub(crate) request: serde_json::Value,
}

impl Platform {
    /// The names of the flow-functions, in the gateway's order.
    pub(crate) async fn flow_functions(&self) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Function {
            name: String,
            #[serde(default)]
            namespace: String,
            #[serde(default)]
            labels: Option<BTreeMap<String, String>>,
        }
        let answer = self.get("/system/functions").await?;
        let what = format!("list the functions of {}", self.base());
        let functions: Vec<Function> = answer.json(&what)?;
        let labelled = |function: &Function| {
            let labels = function.labels.as_ref();
            labels.is_some_and(|labels| {
                labels
                    .get(FLOW_FUNCTION_LABEL)
                    .is_some_and(|value| value == "true")
            })
        };
        let name = |function: Function| match function.namespace.as_str() {
            "" | DEFAULT_NAMESPACE => function.name,
            namespace => format!("{}.{namespace}", function.name),
        };
        Ok(functions.into_iter().filter(labelled).map(name).collect())
    }

    /// Finds a request among all flow-functions.
    pub(crate) async fn find_request(&self, id: RequestId) -> Result<Held, Failure> {
        let functions = self.flow_functions().await?;
        let asked = functions.iter().map(|function| async move {
            let path = format!("/function/{function}/requests/{id}");
            Ok::<_, Failure>((function, self.get(&path).await?))
        });
        let answers: Vec<(&String, Answer)> = stream::iter(asked)
            .buffered(ASKED_MAX)
            .try_collect()
            .await?;
        let mut refusal = None;
        for (function, answer) in &answers {
            let what = format!("read request {id} from function `{function}`");
            match answer.status {
                StatusCode::NOT_FOUND => {}
                StatusCode::OK => {
                    return Ok(Held {
                        function: (*function).clone(),
                        request: answer.json(&what)?,
                    });
                }
                _ => refusal = Some(answer.refused(&what)),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            let asked = known(functions.iter().map(String::as_str));
            let text = format!(
                "no request {id} at {}; flow-functions asked: {asked}. Ended requests are forgotten \
                 in time, and all of them when their function restarts",
                self.base()
            );
            Failure::input(anyhow!(text))
        }))
    }
}

impl Catalog {
    pub(crate) async fn read(platform: &Platform) -> Result<Self, Failure> {
        let functions = platform.flow_functions().await?;
        let asked = functions
            .iter()
            .map(|function| async move { (function, flows_of(platform, function).await) });
        let mut catalog = Self {
            gateway: platform.base().to_owned(),
            functions: functions.clone(),
            flows: Vec::new(),
            silent: Vec::new(),
        };
        let mut answers = stream::iter(asked).buffered(ASKED_MAX);
        while let Some((function, answer)) = answers.next().await {
            match answer {
                Ok(flows) => catalog.flows.extend(flows),
                Err(failure) => catalog
                    .silent
                    .push(format!("{function}: {:#}", failure.cause)),
            }
        }
        Ok(catalog)
    }

    /// The one flow that is meant.
    pub(crate) fn find(&self, wanted: &FlowRef) -> Result<&ServedFlow, Failure> {
        let function = wanted.function.as_ref().map(FunctionName::as_str);
        let found: Vec<_> = self
            .flows
            .iter()
            .filter(|served| served.flow == wanted.flow.as_str())
            .filter(|served| function.is_none_or(|function| function == served.function))
            .collect();
        match found[..] {
            [flow] => Ok(flow),
            [] => Err(self.unknown(wanted)),
            [..] => {
                let forms: Vec<_> = found
                    .iter()
                    .map(|served| format!("{}/{}", served.function, served.flow))
                    .collect();
                let text = format!(
                    "flow `{}` is served by {} functions; write one of {}",
                    wanted.flow,
                    found.len(),
                    forms.join(", ")
                );
                Err(Failure::input(anyhow!(text)))
            }
        }
    }

    fn unknown(&self, wanted: &FlowRef) -> Failure {
        if let Some(function) = &wanted.function
            && !self
                .functions
                .iter()
                .any(|known| known == function.as_str())
        {
            let text = format!(
                "no flow-function `{function}` at {}; there is {}",
                self.gateway,
                known(self.functions.iter().map(String::as_str))
            );
            return Failure::input(anyhow!(text));
        }
        let text = format!(
            "no flow `{}` at {}; there is {}",
            wanted.flow,
            self.gateway,
            known(self.flows.iter().map(|served| served.flow.as_str()))
        );
        if self.silent.is_empty() {
            return Failure::input(anyhow!(text));
        }
        let text = format!(
            "{text}, and not every function answered: {}",
            self.silent.join("; ")
        );
        Failure::platform(anyhow!(text))
    }
}

impl FromStr for FlowRef {
    type Err = turlough_sdk::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('/') {
            Some((function, flow)) => Self {
                function: Some(function.parse()?),
                flow: flow.parse()?,
            },
            None => Self {
                function: None,
                flow: text.parse()?,
            },
        })
    }
}

impl fmt::Display for FlowRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(function) = &self.function {
            write!(f, "{function}/")?;
        }
        write!(f, "{}", self.flow)
    }
}

async fn flows_of(platform: &Platform, function: &str) -> Result<Vec<ServedFlow>, Failure> {
    #[derive(Deserialize)]
    struct Flows {
        flows: Vec<Flow>,
    }
    #[derive(Deserialize)]
    struct Flow {
        name: String,
        version: String,
        nodes: u64,
    }
    let answer = platform.get(&format!("/function/{function}/flows")).await?;
    let listed: Flows = answer.json(&format!("list the flows of function `{function}`"))?;
    let served = |flow: Flow| ServedFlow {
        flow: flow.name,
        function: function.to_owned(),
        version: flow.version,
        nodes: flow.nodes,
    };
    Ok(listed.flows.into_iter().map(served).collect())
}

fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(flows: &[(&str, &str)], silent: &[&str]) -> Catalog {
        let served = |(function, flow): &(&str, &str)| ServedFlow {
            flow: (*flow).to_owned(),
            function: (*function).to_owned(),
            version: String::new(),
            nodes: 1,
        };
        Catalog {
            gateway: "http://gateway".to_owned(),
            functions: flows
                .iter()
                .map(|(function, _)| (*function).to_owned())
                .collect(),
            flows: flows.iter().map(served).collect(),
            silent: silent.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn find(catalog: &Catalog, wanted: &str) -> Result<String, (crate::exit::Exit, String)> {
        let found = catalog.find(&wanted.parse().unwrap());
        found
            .map(|served| served.function.clone())
            .map_err(|failure| (failure.exit, failure.cause.to_string()))
    }

    #[test]
    fn flow_is_found_by_its_name_and_by_its_function_where_several_have_it() {
        let catalog = catalog(&[("flows", "a"), ("flows", "b"), ("etl", "b")], &[]);
        assert_eq!(find(&catalog, "a").unwrap(), "flows");
        assert_eq!(find(&catalog, "etl/b").unwrap(), "etl");
        let (exit, text) = find(&catalog, "b").unwrap_err();
        assert_eq!(exit, crate::exit::Exit::BadInput);
        assert!(text.ends_with("write one of flows/b, etl/b"), "{text}");
    }

    #[test]
    fn unknown_flow_is_bad_input_unless_somebody_did_not_answer() {
        let (exit, text) = find(&catalog(&[("flows", "a")], &[]), "c").unwrap_err();
        assert_eq!(exit, crate::exit::Exit::BadInput);
        assert_eq!(text, "no flow `c` at http://gateway; there is a");
        let (exit, text) = find(&catalog(&[("flows", "a")], &["etl: gone"]), "c").unwrap_err();
        assert_eq!(exit, crate::exit::Exit::Platform);
        assert!(
            text.ends_with("not every function answered: etl: gone"),
            "{text}"
        );
        let (exit, text) = find(&catalog(&[("flows", "a")], &[]), "nope/a").unwrap_err();
        assert_eq!(exit, crate::exit::Exit::BadInput);
        assert!(text.starts_with("no flow-function `nope`"), "{text}");
    }
}
