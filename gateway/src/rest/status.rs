//! `FunctionStatus`, with OpenFaaS's field names.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ShowsEnvironment;
use crate::functions::{Function, Resources};

/// What `/system/functions` tells about a function. Its variables are told to those alone who may
/// deploy: they may hold what not every reader of a list should see.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionStatus {
    name: String,
    image: String,
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    env_process: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env_vars: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    constraints: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Resources>,
    read_only_root_filesystem: bool,
    /// Calls that ended, of any status.
    invocation_count: u64,
    replicas: u32,
    available_replicas: usize,
    /// RFC 3339.
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<FunctionUsage>,
}

/// What its processes take now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionUsage {
    /// In thousandths of a processor, over the last seconds.
    cpu: f64,
    /// Resident, in bytes.
    total_memory_bytes: f64,
}

impl FunctionStatus {
    pub(super) fn of(function: &Function, shows: ShowsEnvironment) -> Self {
        let spec = function.deployed().spec.clone();
        Self {
            name: spec.name.name().to_owned(),
            namespace: spec.name.namespace().to_owned(),
            image: spec.image,
            env_process: spec.env_process,
            env_vars: if shows.0 {
                spec.env_vars
            } else {
                BTreeMap::new()
            },
            constraints: spec.constraints,
            secrets: spec.secrets,
            labels: spec.labels,
            annotations: spec.annotations,
            limits: spec.limits,
            requests: spec.requests,
            read_only_root_filesystem: spec.read_only_root_filesystem,
            invocation_count: function.invocations(),
            replicas: function.replicas(),
            available_replicas: function.replicas_available(),
            created_at: function.created_at().to_string(),
            usage: None,
        }
    }

    /// The same with what it takes, where it has processes here.
    pub(super) fn with_usage(mut self, function: &Function) -> Self {
        self.usage = function.account().now().map(|now| FunctionUsage {
            cpu: now.cpu_millicores,
            total_memory_bytes: now.resident_bytes as f64,
        });
        self
    }
}
