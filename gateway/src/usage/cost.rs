//! What one call cost, for a caller that asks by `X-Turlough-Want-Usage: 1`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::account::Account;
use super::family::descendants;
use super::process::Process;

static WANTED: HeaderName = HeaderName::from_static("x-turlough-want-usage");
static CPU: HeaderName = HeaderName::from_static("x-turlough-cpu-seconds");
static PEAK: HeaderName = HeaderName::from_static("x-turlough-memory-peak-bytes");

/// What a call took of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    /// The most that one process held at once; `None` where the kernel does not tell.
    pub(crate) peak_bytes: Option<u64>,
}

/// A call of a process that works on no other meanwhile.
#[derive(Debug)]
pub(crate) struct CostOfCall {
    leader: i32,
    began: u64,
    cpu: Duration,
    /// Its processes' peaks are those since the call began.
    knows_peak: bool,
}

impl Cost {
    /// Whether a caller asks for it.
    pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
        headers.get(&WANTED).is_some_and(|value| value == "1")
    }

    /// Nobody but the gateway says what a call cost.
    pub(crate) fn strike(headers: &mut HeaderMap) {
        headers.remove(&CPU);
        headers.remove(&PEAK);
    }

    pub(crate) fn put_on(self, headers: &mut HeaderMap) {
        let cpu = HeaderValue::from_str(&format!("{:.6}", self.cpu.as_secs_f64()));
        if let Ok(cpu) = cpu {
            headers.insert(CPU.clone(), cpu);
        }
        if let Some(bytes) = self.peak_bytes {
            headers.insert(PEAK.clone(), HeaderValue::from(bytes));
        }
    }
}

impl CostOfCall {
    /// Before the call is sent. The peaks of the function's processes begin anew; what they were counts
    /// for the function before.
    pub(crate) fn begin(account: &Arc<Account>, pid: u32) -> Option<Self> {
        let family = descendants(i32::try_from(pid).ok()?)?;
        if let Some(peak) = family.iter().filter_map(Process::peak_bytes).max() {
            account.peak(peak);
        }
        let leader = family.first()?;
        Some(Self {
            leader: leader.pid,
            began: leader.began,
            // All of them, also where one fails: half of them would be told for the whole.
            knows_peak: family
                .iter()
                .filter(|process| !process.forget_peak())
                .count()
                == 0,
            cpu: family.iter().map(Process::cpu).sum(),
        })
    }

    /// After the whole answer; `None` where that is not the process any more, or its time is not known.
    pub(crate) fn end(self) -> Option<Cost> {
        let family = descendants(self.leader)?;
        family.first().filter(|leader| leader.began == self.began)?;
        let cpu: Duration = family.iter().map(Process::cpu).sum();
        let peak = family.iter().filter_map(Process::peak_bytes).max();
        Some(Cost {
            cpu: cpu.checked_sub(self.cpu)?,
            peak_bytes: peak.filter(|_| self.knows_peak),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn headers_say_seconds_and_bytes_and_what_others_said_of_it_goes() {
        let mut headers = HeaderMap::new();
        headers.insert(&CPU, HeaderValue::from_static("0"));
        headers.insert(&PEAK, HeaderValue::from_static("0"));
        Cost::strike(&mut headers);
        assert!(headers.is_empty());
        let cost = Cost {
            cpu: Duration::from_nanos(1_234_567_890),
            peak_bytes: None,
        };
        cost.put_on(&mut headers);
        assert_eq!(headers["x-turlough-cpu-seconds"], "1.234568");
        assert!(!headers.contains_key("x-turlough-memory-peak-bytes"));
        let peak_bytes = Some(4096);
        Cost { peak_bytes, ..cost }.put_on(&mut headers);
        assert_eq!(headers["x-turlough-memory-peak-bytes"], "4096");
    }

    #[test]
    fn process_that_is_gone_or_another_has_no_cost() {
        let account = Account::new(Metrics::new(), "it.ns");
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let call = CostOfCall::begin(&account, child.id()).unwrap();
        let other = CostOfCall {
            began: call.began + 1,
            ..call
        };
        assert_eq!(other.end(), None);
        let call = CostOfCall::begin(&account, child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(call.end(), None);
    }
}
