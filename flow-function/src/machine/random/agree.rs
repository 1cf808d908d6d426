//! That the machine and the rules have the same steps open.

use turlough_sdk::ValueRef;

use super::undo::Unwound;
use super::world::World;
use crate::machine::frame::Root;
use crate::machine::given::Given;

impl World {
    pub(super) fn signalled(&mut self, name: &str, value: &ValueRef) {
        let sleepers = self.plain.sleepers(name);
        let Some(first) = sleepers.iter().map(|(slept, _)| *slept).min() else {
            self.plain
                .signals
                .entry(name.to_owned())
                .or_default()
                .push_back(value.clone());
            return;
        };
        let all = sleepers.iter().filter(|(slept, _)| *slept == first);
        let gone: Vec<_> = all
            .filter(|(_, path)| !self.is_open(path))
            .map(|(_, path)| path.clone())
            .collect();
        assert_eq!(gone.len(), 1, "{name} is given to {gone:?} of {sleepers:?}");
        self.plain.wakes(&gone[0], value);
    }

    fn is_open(&self, path: &str) -> bool {
        self.live.open.contains_key(&path.into())
    }

    /// Kept signals are taken by those who open, and compensations begin: where the rules leave a
    /// choice, the machine's is asked for. Then the same steps are open.
    pub(super) fn agree(&mut self) {
        loop {
            let opened = std::mem::take(&mut self.plain.sleepers_opened);
            let mut woken = false;
            for (path, name) in &opened {
                let kept = self
                    .plain
                    .signals
                    .get(name)
                    .is_some_and(|kept| !kept.is_empty());
                let sleeps = self
                    .plain
                    .sleepers(name)
                    .iter()
                    .any(|(_, sleeper)| sleeper == path);
                if kept && sleeps && !self.is_open(path) && self.plain.phase != Unwound::Awaiting {
                    let value = self
                        .plain
                        .signals
                        .get_mut(name)
                        .and_then(|kept| kept.pop_front());
                    self.plain.wakes(path, &value.unwrap());
                    woken = true;
                }
            }
            if !woken {
                break;
            }
        }
        if let Some(handler) = self
            .plain
            .handler
            .as_mut()
            .filter(|it| it.input == Given::Empty)
        {
            // What a handler is given is checked by examples.
            let mut frames = self.live.frames.iter().flatten();
            let frame = frames.find(|frame| frame.owner.is_none() && frame.root != Root::Flow);
            handler.input = frame.map_or(Given::Empty, |frame| frame.input.clone());
        }
        self.plain.pick(|path| {
            self.live
                .open
                .contains_key(&format!("{path}/~compensate").as_str().into())
        });
        let mut plain: Vec<String> = self.plain.open_paths();
        plain.sort_unstable();
        let mut live: Vec<_> = self.live.open.keys().map(|step| step.to_string()).collect();
        live.sort_unstable();
        assert_eq!(live, plain, "what is open, by the machine and by the rules");
        assert_eq!(
            self.live.is_concluded(),
            self.plain.phase == Unwound::Over,
            "whether it is at its end"
        );
        assert_eq!(self.live.trouble().len(), self.plain.trouble, "troubles");
    }
}
