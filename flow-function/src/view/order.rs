//! The order in which steps are read: as they came, with what ran inside a step below it, by item
//! and iteration; after the flow's own the handlers.

use std::collections::HashMap;

use turlough_sdk::StepPath;

/// Sorts as its step is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(Vec<u32>);

/// Which steps were seen before which.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Of each node's path, its place among all.
    seen: HashMap<String, u32>,
}

impl Order {
    /// The place of a step; the first time that a step is asked for decides.
    pub(super) fn place(&mut self, step: &StepPath) -> Place {
        let text = step.as_str();
        let section = match text.split('/').next() {
            Some("~on_failure") => 1,
            Some("~finally") => 2,
            _ => 0,
        };
        let mut place = vec![section];
        let mut end = 0;
        for segment in text.split('/') {
            let (node, inside) = split(segment);
            let path = &text[..end + node.len()];
            place.push(self.number(path));
            place.extend(inside);
            end += segment.len() + 1;
        }
        Place(place)
    }

    fn number(&mut self, path: &str) -> u32 {
        if let Some(number) = self.seen.get(path) {
            return *number;
        }
        let number = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        self.seen.insert(path.to_owned(), number);
        number
    }
}

/// A segment as the node's name, and the item or iteration in which the path goes on.
fn split(segment: &str) -> (&str, Option<u32>) {
    let number = |digits: &str| digits.parse().unwrap_or(0);
    if let Some((node, rest)) = segment.split_once('[') {
        return (node, Some(number(rest.trim_end_matches(']'))));
    }
    match segment.split_once('#') {
        Some((node, rest)) => (node, Some(number(rest))),
        None => (segment, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(came: &[&str], read: &[&str]) {
        let mut order = Order::default();
        let mut steps: Vec<_> = came
            .iter()
            .map(|text| (order.place(&StepPath::from(*text)), *text))
            .collect();
        steps.sort();
        let found: Vec<_> = steps.into_iter().map(|(_, text)| text).collect();
        assert_eq!(found, read);
    }

    #[test]
    fn what_ran_inside_a_step_is_below_it_by_item_and_iteration() {
        check(
            &[
                "load",
                "months",
                "months[10]/clean",
                "save",
                "months[2]/fetch",
                "months[2]/clean",
                "months[10]/fetch",
                "poll",
                "poll#2/get",
                "poll#10/get",
                "poll#2/get[1]/x",
            ],
            &[
                "load",
                "months",
                "months[2]/fetch",
                "months[2]/clean",
                "months[10]/clean",
                "months[10]/fetch",
                "save",
                "poll",
                "poll#2/get",
                "poll#2/get[1]/x",
                "poll#10/get",
            ],
        );
    }

    #[test]
    fn handlers_come_last_and_a_compensation_stands_below_what_it_undoes() {
        check(
            &[
                "~finally/tell",
                "~on_failure/tell",
                "book",
                "pay",
                "book/~compensate",
            ],
            &[
                "book",
                "book/~compensate",
                "pay",
                "~on_failure/tell",
                "~finally/tell",
            ],
        );
    }

    #[test]
    fn no_path_is_too_odd_for_a_place() {
        for odd in [
            "",
            "/",
            "[",
            "#",
            "a[",
            "a[99999999999]/b",
            "a#/",
            "///",
            "é[é",
        ] {
            Order::default().place(&StepPath::from(odd));
        }
    }
}
