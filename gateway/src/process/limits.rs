//! What one process of a function may take, in Kubernetes' notation: memory, by the kernel's own limit.
//!
//! The limit is one on what a process can write to (`RLIMIT_DATA`), not on what it reserves, so that
//! runtimes with large address spaces start. Allocation beyond it fails: the process, not the machine,
//! runs out of memory. Each process of a function has it for itself. `cpu` is shown, not enforced.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::functions::{FunctionName, Resources};

/// In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    memory_bytes: Option<u64>,
}

/// An amount that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "function `{function}`: limits.memory is `{found}`; write bytes, or a number with Ki, Mi, Gi, k, M or G, such as 128Mi"
)]
pub struct LimitsError {
    function: FunctionName,
    found: String,
}

impl Limits {
    pub(crate) fn read(
        function: &FunctionName,
        limits: Option<&Resources>,
    ) -> Result<Self, LimitsError> {
        let memory = limits.and_then(|limits| limits.memory.as_deref());
        let memory = memory.filter(|text| !text.is_empty());
        let memory_bytes = match memory {
            None => None,
            Some(text) => Some(bytes(text).ok_or_else(|| LimitsError {
                function: function.clone(),
                found: text.to_owned(),
            })?),
        };
        Ok(Self { memory_bytes })
    }

    /// Holds a command, and what it starts, to its limits.
    pub(super) fn lay(self, command: &mut Command) {
        let Some(bytes) = self.memory_bytes else {
            return;
        };
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        #[allow(
            unsafe_code,
            reason = "a limit that came after the process began would come after its memory"
        )]
        // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes one
        // system call through rustix, allocates nothing and takes no lock; it captures two numbers.
        unsafe {
            command.pre_exec(move || Ok(setrlimit(Resource::Data, limit)?));
        }
    }
}

/// A positive amount in Kubernetes' notation.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_means_them() {
        for (text, expected) in [
            ("128Mi", 128 << 20),
            ("1Gi", 1 << 30),
            ("64Ki", 64 << 10),
            ("5M", 5_000_000),
            ("1000", 1000),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "Mi",
            "0",
            "-1Mi",
            "1.5Gi",
            "64mb",
            "64 Mi",
            "99999999999Gi",
        ] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
