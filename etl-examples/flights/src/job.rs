//! What a request asks of the pipeline. Every field has a default, so `{}` is a whole job.
//!
//! Paths are taken as they are: a relative one starts at the working directory of the process,
//! which under a gateway is the function's own folder, this one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One run of the pipeline, as the request's body gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Job {
    /// Folder that holds the five CSV files.
    pub data: PathBuf,
    /// SQLite file the report is loaded into; made, with its folder, where it is missing.
    pub out: PathBuf,
    /// Rejected rows that a run puts up with, for each file and for all files together.
    pub rejected_max: u64,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            out: PathBuf::from("out/flights.sqlite"),
            rejected_max: 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_a_whole_job() {
        let job: Job = serde_json::from_str("{}").unwrap();
        assert_eq!(job, Job::default());
        assert_eq!(job.rejected_max, 100);
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let error = serde_json::from_str::<Job>(r#"{"reject_max": 3}"#).unwrap_err();
        assert!(error.to_string().contains("reject_max"), "{error}");
    }
}
