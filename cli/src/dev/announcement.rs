//! What `dev` prints once everything runs: where things are, and what to type.

use serde::Serialize;

use super::local::Local;
use crate::amount;
use crate::exit::Failure;
use crate::platform::{Catalog, Platform, ServedFlow};
use crate::terminal::Terminal;

/// Where `turlough run` looks if it is not told otherwise.
const GATEWAY_DEFAULT: &str = crate::platform::GATEWAY_DEFAULT;

#[derive(Debug, Serialize)]
struct Ready<'a> {
    gateway: &'a str,
    metrics: String,
    flows: Vec<ReadyFlow<'a>>,
    functions: Vec<ReadyFunction>,
}

#[derive(Debug, Serialize)]
struct ReadyFlow<'a> {
    flow: &'a str,
    function: &'a str,
    url: String,
}

#[derive(Debug, Serialize)]
struct ReadyFunction {
    name: String,
    port: u16,
    pid: u32,
}

pub(super) async fn announce(terminal: Terminal, local: &Local) -> Result<(), Failure> {
    let url = reqwest::Url::parse(&local.gateway_url).map_err(Failure::platform)?;
    let credentials = local.login.as_ref().map(|(_, login)| login.clone());
    let catalog = Catalog::read(&Platform::new(&url, None, credentials)?).await?;
    for silent in &catalog.silent {
        terminal.note(&format!("flows are missing: {silent}"));
    }
    if terminal.is_json() {
        terminal.json(&ready(local, &catalog))
    } else {
        terminal.line(&text(local, &catalog))
    }
}

fn ready<'a>(local: &'a Local, catalog: &'a Catalog) -> Ready<'a> {
    Ready {
        gateway: &local.gateway_url,
        metrics: metrics_url(local),
        flows: catalog
            .flows
            .iter()
            .map(|flow| ReadyFlow {
                flow: &flow.flow,
                function: &flow.function,
                url: flow_url(local, flow),
            })
            .collect(),
        functions: local
            .started
            .iter()
            .map(|started| ReadyFunction {
                name: started.function.to_string(),
                port: started.port,
                pid: started.pid,
            })
            .collect(),
    }
}

fn text(local: &Local, catalog: &Catalog) -> String {
    let functions: Vec<_> = local
        .started
        .iter()
        .map(|f| f.function.to_string())
        .collect();
    let mut text = format!(
        "\n  gateway    {}\n  metrics    {}\n  functions  {}\n",
        local.gateway_url,
        metrics_url(local),
        match functions.len() {
            0 => "none".to_owned(),
            _ => functions.join(", "),
        },
    );
    let elsewhere = match local.gateway_url.as_str() {
        GATEWAY_DEFAULT => String::new(),
        url => format!(" --gateway {url}"),
    };
    for flow in &catalog.flows {
        let url = flow_url(local, flow);
        let same = catalog.flows.iter().filter(|other| other.flow == flow.flow);
        let name = match same.count() {
            1 => flow.flow.clone(),
            _ => format!("{}/{}", flow.function, flow.flow),
        };
        text.push_str(&format!(
            "\n  {name}  POST {url}\n    turlough run {name}{elsewhere} --data '{{}}'\n    \
             curl {url} -H 'Content-Type: application/json' -d '{{}}'\n"
        ));
    }
    text.push_str(&format!(
        "\n{} ready; Ctrl-C stops all of it",
        match catalog.flows.len() {
            1 => "1 flow is".to_owned(),
            several => format!("{} are", amount::count(several, "flow")),
        }
    ));
    text
}

fn flow_url(local: &Local, flow: &ServedFlow) -> String {
    format!(
        "{}/function/{}/{}",
        local.gateway_url, flow.function, flow.flow
    )
}

fn metrics_url(local: &Local) -> String {
    let mut address = local.metrics_addr;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}/metrics")
}
