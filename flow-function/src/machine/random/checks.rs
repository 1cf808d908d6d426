//! What the machine wants, held against the rules.

use super::plain::{Begun, How, Stage};
use super::rules::{commits, once};
use super::undo::Unwound;
use super::world::{Want, World};
use crate::machine::{Action, Conclusion, Run, Work};

impl World {
    /// What the machine wants now.
    pub(super) fn tell(&mut self) {
        let mut told = Vec::new();
        for action in self.live.next_actions() {
            match action {
                Action::Stop { step, attempt } => {
                    let step = step.to_string();
                    if self
                        .running
                        .get(&step)
                        .is_some_and(|run| run.attempt == attempt)
                    {
                        self.running.remove(&step);
                        self.starts.remove(&step);
                    }
                    self.remote
                        .retain(|path, number| *path != step || *number != attempt);
                }
                Action::Start { step, attempt } => {
                    assert!(!self.plain.ended, "{step} starts after the end");
                    self.number(&step.to_string(), attempt);
                    let expects = self.plain.expects(step.as_str());
                    assert!(
                        !expects.is_some_and(|(_, _, remaking)| remaking),
                        "{step} starts on what is lost"
                    );
                    self.plain.told(step.as_str(), attempt);
                    self.starts.insert(step.to_string(), attempt);
                    told.push((step.to_string(), Want::Start));
                }
                Action::Run(run) => {
                    told.push((run.step.to_string(), Want::Run));
                    self.told_run(*run);
                }
                Action::End(conclusion) => {
                    assert!(!self.told_end, "its end is told twice");
                    self.told_end = true;
                    self.is_end(&conclusion);
                }
            }
        }
        if self.plain.phase == Unwound::Over {
            // Nobody waits for these any longer, but what they come to may still be said.
            for run in std::mem::take(&mut self.running).into_values() {
                self.offline.push((run, self.plain.generation));
            }
        }
        let live = &self.live;
        self.starts
            .retain(|path, attempt| live.awaits(&path.as_str().into(), *attempt));
        let mut live: Vec<_> = self
            .running
            .keys()
            .map(|path| (path.clone(), Want::Run))
            .collect();
        live.extend(self.starts.keys().map(|path| (path.clone(), Want::Start)));
        live.sort();
        // What was told before a value was lost goes on.
        let waits = self.plain.waits_for_values();
        live.retain(|(path, _)| !waits.contains(path));
        if self.plain.paused {
            // What ran before goes on; nothing new but what is recorded.
            let (held, may) = (self.wanted(false), self.wanted(true));
            let within = |some: &[(String, Want)], all: &[(String, Want)]| {
                some.iter().all(|want| all.contains(want))
            };
            assert!(within(&told, &held), "{told:?} is new while paused");
            assert!(within(&live, &may), "{live:?} while paused");
            assert!(within(&held, &live), "{held:?} of {live:?} while paused");
        } else {
            assert_eq!(
                live,
                self.wanted(true),
                "what runs, by the machine and by the rules"
            );
        }
    }

    /// What should run or start. `unpaused`: as if it were not paused.
    pub(super) fn wanted(&self, unpaused: bool) -> Vec<(String, Want)> {
        let (plain, mut wanted) = (&self.plain, Vec::new());
        if plain.ended || plain.phase == Unwound::Over {
            return wanted;
        }
        for leaf in plain
            .leaves()
            .into_iter()
            .filter(|leaf| leaf.stage != Stage::Sleep)
        {
            let is_once = once(leaf.vertex, leaf.stage);
            match leaf.step.begun {
                Begun::Called => {}
                Begun::Started(at) if leaf.step.held || at < plain.epoch && is_once => {}
                Begun::Started(_) => wanted.push((leaf.path, Want::Run)),
                Begun::No if leaf.remaking || plain.paused && !unpaused => {}
                Begun::No if commits(leaf.vertex, leaf.stage) => {
                    wanted.push((leaf.path, Want::Start))
                }
                Begun::No => wanted.push((leaf.path, Want::Run)),
            }
        }
        for (path, stray) in &plain.strays {
            if stray.epoch == plain.epoch && !stray.called {
                wanted.push((path.clone(), Want::Run));
            }
        }
        for group in plain.undo.iter().filter(|group| group.open) {
            let path = format!("{}/~compensate", group.path);
            let part = group.graph.nodes[group.node].compensate.as_ref().unwrap();
            match group.begun {
                Begun::No if !part.idempotent => wanted.push((path, Want::Start)),
                Begun::Started(at) if at < plain.epoch && !part.idempotent => {}
                _ => wanted.push((path, Want::Run)),
            }
        }
        wanted.sort();
        wanted
    }

    /// Attempt numbers only grow, and none is used for two inputs.
    fn number(&mut self, path: &str, attempt: u32) {
        let last = self.numbers.entry(path.to_owned()).or_default();
        assert!(
            attempt >= *last,
            "{path} has attempt {attempt} after {last}"
        );
        *last = attempt;
    }

    fn told_run(&mut self, run: Run) {
        let path = run.step.to_string();
        assert!(!self.plain.ended, "{path} runs after the end");
        self.number(&path, run.attempt);
        self.size.steps += 1;
        let begun = matches!(self.plain.open_attempt(&path), Some((_, true)));
        if let Some((stage, is_once, remaking)) = self.plain.expects(&path) {
            assert!(!remaking || begun, "{path} runs on what is lost");
            let inputs = self.plain.inputs(&path);
            let fits = match (&run.work, stage) {
                (Work::When, Stage::When) | (Work::Operation, Stage::Run) => true,
                (Work::Ask(_), Stage::Ask) | (Work::Fallback, Stage::Fallback) => true,
                (Work::Gather(results), Stage::Gather) => {
                    self.plain.gathers(&path, results);
                    true
                }
                _ => false,
            };
            assert!(fits, "{path} does {:?} at {stage:?}", run.work);
            assert_eq!(run.inputs, inputs, "inputs of {path}");
            if commits(run.node(), stage) {
                // They stood so when its start was recorded.
                assert!(self.stood.contains(&run.variables), "variables of {path}");
            } else {
                assert_eq!(*run.variables, self.plain.variables, "variables of {path}");
            }
            if is_once {
                let key = (
                    self.plain.generation,
                    path.clone(),
                    stage == Stage::Fallback,
                );
                let before = self.called.insert(key, run.attempt);
                assert_eq!(before, None, "{path} must not be repeated");
            }
        } else if path.ends_with("~compensate") {
            self.plain.undoes(&path, &run);
        }
        let inputs = self
            .used
            .entry((path.clone(), run.attempt))
            .or_insert_with(|| run.inputs.clone());
        assert_eq!(inputs.len(), run.inputs.len(), "{path}");
        let same = inputs
            .iter()
            .zip(&run.inputs)
            .all(|((_, a), (_, b))| match (a, b) {
                (Some(a), Some(b)) => super::settle::same(a, b),
                (a, b) => a.is_none() && b.is_none(),
            });
        assert!(same, "attempt {} of {path} has two inputs", run.attempt);
        self.plain.told(&path, run.attempt);
        self.starts.remove(&path);
        let before = self.running.insert(path.clone(), run);
        assert!(before.is_none(), "{path} runs twice");
    }

    fn is_end(&self, conclusion: &Conclusion) {
        let same = match (conclusion, self.plain.how.as_ref().unwrap()) {
            (Conclusion::Succeeded(a), How::Succeeded(b)) => a == b,
            (Conclusion::Failed(error), How::Failed(step)) => error.step.as_str() == step,
            (Conclusion::TimedOut, How::TimedOut) | (Conclusion::Cancelled, How::Cancelled) => true,
            _ => false,
        };
        assert!(same, "{conclusion:?} is not {:?}", self.plain.how);
    }
}
