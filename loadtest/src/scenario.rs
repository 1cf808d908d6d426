//! What is sent, and what must come back.

use serde_json::{Value as Json, json};

/// A flow of the examples whose every answer is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// The flow of etl-examples/fizz-buzz, for the numbers from 1 on
    FizzBuzz,
}

impl Scenario {
    pub(crate) const fn flow(self) -> &'static str {
        match self {
            Self::FizzBuzz => "fizz-buzz",
        }
    }

    /// Body of request number `n`, and the answer to it.
    pub(crate) fn exchange(self, n: u64) -> (Json, Json) {
        match self {
            Self::FizzBuzz => {
                let answer = match (n.is_multiple_of(3), n.is_multiple_of(5)) {
                    (true, true) => json!("FizzBuzz"),
                    (true, false) => json!("Fizz"),
                    (false, true) => json!("Buzz"),
                    (false, false) => json!(n),
                };
                (json!({ "n": n }), json!({ "answer": answer }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fizz_buzz_is_the_game() {
        let answer = |n| Scenario::FizzBuzz.exchange(n).1["answer"].clone();
        assert_eq!(
            [answer(7), answer(9), answer(10), answer(30)],
            [json!(7), json!("Fizz"), json!("Buzz"), json!("FizzBuzz")]
        );
    }
}
