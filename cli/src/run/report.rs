//! What is told of a request at its end, and the exit code that goes with it.

use reqwest::StatusCode;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value as Json, json};

use super::Run;
use crate::exit::{Exit, Failure};
use crate::platform::{Answer, Ended, Trouble};

#[derive(Debug, Serialize)]
struct Report<'a> {
    request_id: &'a str,
    flow: &'a str,
    function: &'a str,
    status: &'a str,
    duration_ms: Json,
    steps: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    trouble: &'a [Trouble],
}

pub(super) async fn report(run: &Run<'_>, ended: &Ended) -> Result<Exit, Failure> {
    let path = format!("/function/{}/requests/{}/result", run.function, run.request);
    let (exit, result) = match exit_of(&ended.status) {
        Exit::Ok => {
            let answer = run.platform.get(&path).await?;
            match answer.status {
                StatusCode::OK => (Exit::Ok, Ok(answer)),
                _ => (Exit::Platform, Err(without_result(run, &answer))),
            }
        }
        exit => (exit, Err(error(ended))),
    };
    if run.terminal.is_json() {
        return json(run, ended, exit, result).await;
    }
    match result {
        Ok(answer) => run.terminal.raw(&answer.body)?,
        Err(error) => {
            let (request, status) = (&run.request, ended.status.replace('_', " "));
            let mut text = format!("request {request} {status}: {error}");
            for trouble in &ended.trouble {
                text.push_str(&format!("\nand step {}: {}", trouble.step, trouble.error));
            }
            text.push_str(&format!("\nsee its steps: turlough request {request}"));
            if exit != Exit::Platform {
                text.push_str(&format!("\nrestart it:    turlough restart {request}"));
            }
            run.terminal.note(&text);
        }
    }
    Ok(exit)
}

/// What a request's status means for a script.
pub(crate) fn exit_of(status: &str) -> Exit {
    match status {
        "succeeded" => Exit::Ok,
        "failed" => Exit::Failed,
        "timed_out" | "cancelled" | "running" | "sleeping" | "paused" | "unwinding" => {
            Exit::NotDone
        }
        // A later platform's; it did not succeed.
        _ => Exit::Failed,
    }
}

/// A result as a member of a JSON document: itself where it is JSON, text where it is text, and
/// otherwise what it is.
pub(crate) fn as_json(answer: &Answer) -> Option<Box<RawValue>> {
    let media = answer.header("content-type").unwrap_or_default();
    if let Ok(value) = serde_json::from_slice::<Box<RawValue>>(&answer.body) {
        return Some(value);
    }
    let value = match std::str::from_utf8(&answer.body) {
        Ok(text) => json!(text),
        Err(_) => json!({ "content_type": media, "bytes": answer.body.len() }),
    };
    to_raw_value(&value).ok()
}

async fn json(
    run: &Run<'_>,
    ended: &Ended,
    exit: Exit,
    result: Result<Answer, String>,
) -> Result<Exit, Failure> {
    let path = format!("/function/{}/requests/{}", run.function, run.request);
    let answer = run.platform.get(&path).await?;
    let mut view: Json = answer.json(&format!("read request {}", run.request))?;
    let (result, error) = match result {
        Ok(answer) => (as_json(&answer), None),
        Err(error) => (None, Some(error)),
    };
    run.terminal.json(&Report {
        request_id: &run.request,
        flow: run.flow,
        function: run.function,
        status: &ended.status,
        duration_ms: view["duration_ms"].take(),
        steps: view["steps"].take(),
        result,
        error,
        trouble: &ended.trouble,
    })?;
    Ok(exit)
}

fn error(ended: &Ended) -> String {
    match (&ended.step, &ended.error, ended.status.as_str()) {
        (Some(step), Some(error), _) => format!("step {step}: {error}"),
        (None, Some(error), _) => error.clone(),
        (_, None, "timed_out") => "it took longer than the flow's timeout".to_owned(),
        (_, None, "cancelled") => "somebody cancelled it".to_owned(),
        _ => "no reason given".to_owned(),
    }
}

/// The request succeeded, and its result cannot be had.
fn without_result(run: &Run<'_>, answer: &Answer) -> String {
    let said = answer.problem();
    if answer.status != StatusCode::GONE {
        return format!("its result cannot be read: {said}");
    }
    format!(
        "{said}; post the same input to {}/function/{}/{} for it",
        run.platform.base(),
        run.function,
        run.flow
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{CONTENT_TYPE, HeaderMap};

    fn shown(media: &'static str, body: &'static [u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, media.parse().unwrap());
        let answer = Answer {
            status: StatusCode::OK,
            headers,
            body: body.into(),
            user: None,
        };
        as_json(&answer).unwrap().get().to_owned()
    }

    #[test]
    fn result_is_shown_as_json_text_or_size() {
        let digits = b"{\"a\": 1.000000000000000000001}";
        assert_eq!(shown("application/json", digits).as_bytes(), digits);
        assert_eq!(shown("text/csv", b"a,b"), "\"a,b\"");
        let binary = "{\"bytes\":2,\"content_type\":\"image/png\"}";
        assert_eq!(shown("image/png", b"\xff\x00"), binary);
    }

    #[test]
    fn statuses_have_the_exit_codes_of_the_help() {
        let codes = ["succeeded", "failed", "timed_out", "cancelled", "running"].map(exit_of);
        let not_done = Exit::NotDone;
        assert_eq!(
            codes,
            [Exit::Ok, Exit::Failed, not_done, not_done, not_done]
        );
    }
}
