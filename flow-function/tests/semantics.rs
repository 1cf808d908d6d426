//! Every example of docs/semantics.md, run as it stands there.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod platform;

use std::time::Duration;

use platform::Platform;
use serde_json::Value as Json;
use turlough_sdk::{Flow, read_yaml};

const DOCUMENT: &str = include_str!("../../docs/semantics.md");

/// A flow of the document, and what is said of it.
struct Example {
    flow: String,
    name: String,
    /// Input and output, as they stand there.
    answers: Vec<(String, String)>,
    conversation: Vec<String>,
}

/// The examples, in the order of the document.
fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let mut block =
            || -> Vec<&str> { lines.by_ref().take_while(|line| *line != "```").collect() };
        match line {
            "```yaml" => {
                let flow = block().join("\n");
                let name = flow
                    .lines()
                    .next()
                    .and_then(|line| line.strip_prefix("flow: "));
                let name = name
                    .unwrap_or_else(|| panic!("no name in\n{flow}"))
                    .to_owned();
                let (answers, conversation) = (Vec::new(), Vec::new());
                examples.push(Example {
                    flow,
                    name,
                    answers,
                    conversation,
                });
            }
            "```" => {
                let example = examples.last_mut().unwrap();
                example
                    .conversation
                    .extend(block().into_iter().map(str::to_owned));
            }
            line => {
                let answer = line
                    .strip_prefix('`')
                    .and_then(|line| line.strip_suffix('`'));
                if let Some((input, output)) = answer.and_then(|line| line.split_once(" → ")) {
                    let answer = (input.to_owned(), output.to_owned());
                    examples.last_mut().unwrap().answers.push(answer);
                }
            }
        }
    }
    examples
}

async fn platform(example: &Example) -> Platform {
    let flow: Flow =
        read_yaml(&example.flow).unwrap_or_else(|error| panic!("{}:\n{error}", example.flow));
    Platform::with(vec![flow], |settings| {
        settings.keep_failed = Duration::from_secs(60)
    })
    .await
}

#[tokio::test]
async fn each_answer_is_what_the_document_says() {
    let (mut told, mut wrong) = (0, Vec::new());
    for example in examples() {
        for (input, output) in &example.answers {
            let platform = platform(&example).await;
            let answer = platform
                .post(&format!("/{}", example.name), input.clone())
                .await;
            let text = answer.text().await.unwrap();
            let name = &example.name;
            let found: Option<Json> = serde_json::from_str(&text).ok();
            let expected: Json = serde_json::from_str(output).unwrap();
            if found != Some(expected) {
                wrong.push(format!("{name} of {input} gave {text}"));
            }
            told += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(told >= 25, "only {told} answers were found in the document");
}

#[tokio::test]
async fn each_conversation_goes_as_the_document_says() {
    let (mut told, mut wrong) = (0, Vec::new());
    for example in examples()
        .iter()
        .filter(|example| !example.conversation.is_empty())
    {
        let platform = platform(example).await;
        let mut id = String::new();
        for line in &example.conversation {
            let (asked, answered) = line.split_once(" ⇒ ").unwrap_or_else(|| panic!("{line}"));
            if let Err(found) = say(&platform, &mut id, (asked, answered)).await {
                wrong.push(format!("{}: {line}\nfound {found}", example.name));
                break;
            }
            told += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(told >= 20, "only {told} lines were found in the document");
}

/// Says a line, and compares what comes back; a GET is said again until it is what is expected.
async fn say(
    platform: &Platform,
    id: &mut String,
    (asked, answered): (&str, &str),
) -> Result<(), String> {
    let mut asked = asked.splitn(3, ' ');
    let (method, path) = (
        asked.next().unwrap(),
        asked.next().unwrap().replace("ID", id),
    );
    let body = asked.next().unwrap_or_default().to_owned();
    let (status, expected) = answered.split_once(' ').unwrap_or((answered, ""));
    let url = format!("{}{path}", platform.url);
    let wanted: Option<Json> =
        (!expected.is_empty()).then(|| serde_json::from_str(expected).unwrap());
    let mut found = String::new();
    for _ in 0..3_000 {
        let call = match method {
            "GET" => platform.http.get(&url),
            _ => platform.http.post(&url).header("prefer", "respond-async"),
        };
        let call = call
            .header("content-type", "application/json")
            .body(body.clone());
        let answer = call.send().await.unwrap();
        if id.is_empty() {
            *id = answer.headers()["x-turlough-request-id"]
                .to_str()
                .unwrap()
                .to_owned();
        }
        let seen = answer.status();
        let text = answer.text().await.unwrap();
        let json: Json = serde_json::from_str(&text).unwrap_or_default();
        if seen.as_str() == status && wanted.as_ref().is_none_or(|wanted| holds(&json, wanted)) {
            return Ok(());
        }
        found = format!("{seen} {text}");
        if method != "GET" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(found)
}

/// Whether `found` holds all that `expected` names, lists item by item.
fn holds(found: &Json, expected: &Json) -> bool {
    match (found, expected) {
        (Json::Object(found), Json::Object(expected)) => expected
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|found| holds(found, value))),
        (Json::Array(found), Json::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| holds(f, e))
        }
        (found, expected) => found == expected,
    }
}
