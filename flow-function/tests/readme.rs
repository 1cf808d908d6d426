//! The tests that README.md shows under *Tests of pipelines*, run as they stand there.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use turlough_flow_function::{Flow, FlowError, StepError};

const README: &str = include_str!("../../README.md");
const THIS: &str = include_str!("readme.rs");

fn words(text: String) -> Result<Vec<String>, StepError> {
    Ok(text.split_whitespace().map(str::to_owned).collect())
}
async fn length(word: String) -> Result<usize, StepError> {
    Ok(word.len())
}
#[rustfmt::skip]
fn longest((words, lengths): (Vec<String>, Vec<usize>)) -> Result<Option<String>, StepError> {
    Ok(lengths.iter().zip(words).max_by_key(|(length, _)| **length).map(|(_, word)| word))
}

fn flow() -> Result<Flow, FlowError> {
    let flow = Flow::builder("longest-word");
    let text = flow.input::<String>();
    let words = flow.map("words", &text, words);
    let lengths = flow
        .for_each("lengths", &words, |body, word| {
            body.map("length", word, length)
        })
        .max_parallel(4);
    let longest = flow.map("longest", (&words, &lengths), longest);
    flow.output(&longest).build()
}

// Shown from here:
#[cfg(test)]
mod tests {
    use serde_json::json;
    use turlough_flow_function::testing::{Answer, TestKit};

    #[tokio::test]
    async fn the_longest_word_is_found() {
        let kit = TestKit::new().await;
        kit.flow(super::flow().unwrap());
        let outcome = kit.run("longest-word", "the quick brownish fox").await;
        outcome.assert_output(&json!("brownish"));
        outcome.assert_step("lengths[2]/length", "succeeded");
    }

    #[tokio::test]
    async fn a_number_that_cannot_be_classified_at_once_is_classified_later() {
        let kit = TestKit::new().await;
        kit.files("../etl-examples/fizz-buzz/flows");
        kit.stub("classify", |call| match call.attempt {
            1 | 2 => Answer::status(503),
            _ => Answer::json(&json!({ "n": 9, "by3": true, "by5": false })),
        });
        kit.stub("fizz", |_| json!("Fizz"));
        let outcome = kit.run("fizz-buzz", &json!({ "n": 9 })).await;
        outcome.assert_output(&json!({ "answer": "Fizz" }));
        outcome.assert_attempts("classify", 3);
        outcome.assert_step("buzz", "skipped");
        let sent: serde_json::Value = kit.calls("classify")[0].json();
        assert_eq!(sent, json!({ "n": 9 }));
    }
}
// Shown to here.

#[test]
fn what_runs_here_is_what_the_readme_shows() {
    let shown = THIS.split_once("// Shown from here:\n").unwrap().1;
    let shown = shown.split_once("// Shown to here.").unwrap().0;
    // An author's tests run in the folder of the pipeline.
    let shown = shown.replace("../etl-examples/fizz-buzz/flows", "flows");
    assert!(README.contains(&format!("```rust\n{shown}```")), "{shown}");
}
