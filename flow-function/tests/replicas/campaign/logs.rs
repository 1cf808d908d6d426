//! The logs of all requests, and what of them counts.
//!
//! What counts is found without the machine: each append names the one before it that counted, and so
//! the last one tells of all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::sync::watch;
use turlough_sdk::RequestId;
use turlough_statestore::{Append, Event, Kind, Seq, State};

/// How long a follower that met everything is waited for.
const QUIET: Duration = Duration::from_millis(500);

/// All logs, as far as they were read.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) requests: BTreeMap<RequestId, Vec<Append>>,
    end: u64,
}

impl Logs {
    /// Reads on to the end. Where the connection is lost, it stops there.
    pub(crate) async fn read_on(&mut self, state: &State) {
        let Ok(mut follow) = state.log.follow(Seq::new(self.end)).await else {
            return;
        };
        while let Ok(Ok(met)) = tokio::time::timeout(QUIET, follow.next(1_000)).await {
            for followed in met {
                self.end = followed.seq.get();
                let (Some(request), Ok(append)) = (followed.request, followed.append) else {
                    panic!("{} is no append of ours", followed.seq);
                };
                self.requests.entry(request).or_default().push(append);
            }
        }
    }

    /// Those that were begun and are not settled.
    pub(crate) fn unsettled(&self) -> Vec<RequestId> {
        let is_settled = |appends: &Vec<Append>| {
            let mut events = appends.iter().flat_map(|append| &append.events);
            events.any(|event| matches!(event, Event::Settled { .. }))
        };
        let open = self.requests.iter();
        let open = open.filter(|(_, appends)| !is_settled(appends));
        open.map(|(request, _)| *request).collect()
    }
}

/// The appends of a settled log that count, in order; or what is wrong with them.
pub(crate) fn counted(appends: &[Append]) -> Result<Vec<&Append>, String> {
    let by_id: HashMap<_, _> = appends
        .iter()
        .map(|append| (append.envelope.id, append))
        .collect();
    let is_settling = |append: &&Append| {
        let mut events = append.events.iter();
        events.any(|event| matches!(event, Event::Settled { .. }))
    };
    let mut chain = Vec::new();
    let mut next = appends.iter().find(is_settling);
    while let Some(append) = next {
        chain.push(append);
        next = match append.envelope.after {
            Some(before) => Some(
                *by_id
                    .get(&before)
                    .ok_or("it follows an append that is not there")?,
            ),
            None => None,
        };
        if chain.len() > appends.len() {
            return Err("its appends follow one another in a circle".to_owned());
        }
    }
    chain.reverse();
    epochs(&chain)?;
    Ok(chain)
}

/// Claims rise, and whoever drives appends under its own alone.
fn epochs(chain: &[&Append]) -> Result<(), String> {
    let (mut epoch, mut holder) = (0, None);
    for append in chain {
        if append.envelope.kind == Kind::External {
            continue;
        }
        let claim = append.events.iter().find_map(|event| match event {
            Event::Claimed { epoch, .. } => Some(*epoch),
            _ => None,
        });
        let (found, replica) = (append.envelope.epoch, append.envelope.replica);
        match claim {
            Some(claim) if claim <= epoch => {
                return Err(format!("claim {claim} counts after claim {epoch}"));
            }
            Some(claim) => (epoch, holder) = (claim, Some(replica)),
            None if found != epoch && epoch != 0 => {
                return Err(format!(
                    "an append under claim {found} counts after claim {epoch}"
                ));
            }
            None if holder.is_some_and(|holder| holder != replica) => {
                return Err(format!(
                    "an append of {replica} counts under claim {epoch}, which is another's"
                ));
            }
            None => {}
        }
    }
    Ok(())
}

/// How many requests are open, as they are met.
pub(crate) async fn count_open(state: State, open: watch::Sender<usize>) {
    let (mut end, mut requests) = (Seq::START, HashSet::new());
    loop {
        if let Ok(mut follow) = state.log.follow(end).await {
            while let Ok(met) = follow.next(1_000).await {
                for followed in met {
                    end = followed.seq;
                    let (Some(request), Ok(append)) = (followed.request, followed.append) else {
                        continue;
                    };
                    for event in &append.events {
                        match event {
                            Event::Accepted(_) => _ = requests.insert(request),
                            Event::Ended { .. } => _ = requests.remove(&request),
                            _ => {}
                        }
                    }
                }
                open.send_replace(requests.len());
            }
        }
        tokio::time::sleep(QUIET).await;
    }
}

/// When something happened, as its event tells.
pub(crate) const fn at_us(event: &Event) -> u64 {
    match event {
        Event::Part { .. } => 0,
        Event::Accepted(accepted) => accepted.at_us,
        Event::StepEnded(ended) => ended.end_us,
        Event::Snapshot(snapshot) => snapshot.at_us,
        Event::Claimed { at_us, .. }
        | Event::Released { at_us }
        | Event::StepStarted { at_us, .. }
        | Event::StepCalled { at_us, .. }
        | Event::Ticked { at_us }
        | Event::OutputLost { at_us, .. }
        | Event::OutputFailed { at_us, .. }
        | Event::Signalled { at_us, .. }
        | Event::PauseAsked { at_us }
        | Event::ResumeAsked { at_us }
        | Event::CancelAsked { at_us }
        | Event::RestartAsked { at_us, .. }
        | Event::Ended { at_us, .. }
        | Event::Delivered { at_us, .. }
        | Event::Closing { at_us }
        | Event::Settled { at_us } => *at_us,
    }
}
