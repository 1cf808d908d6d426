//! Calls an OpenFaaS function through the gateway.

use bytes::Bytes;
use futures_util::TryStreamExt;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use turlough_sdk::value::ValueWriter;
use turlough_sdk::{Apply, ContentType, Digest, Inputs, Producer, StepError, Value};

use super::{Context, INLINE_WORK_BYTES_MAX, blocking};
use crate::machine::Run;

/// How much of an error answer is quoted, in bytes.
const QUOTE_BYTES_MAX: usize = 300;

/// One call. Statuses from 400 on are failures: 408, 429 and 5xx may pass, others will not.
pub(super) async fn call(
    context: &Context,
    run: &Run,
    apply: &Apply,
    inputs: &Inputs,
) -> Result<Value, StepError> {
    let (content_type, body) = leaving(inputs, apply.msgpack).await?;
    let key = idempotency_key(context, run, &body);
    let shared = &context.shared;
    let url = format!(
        "{}/function/{}{}",
        shared.gateway_url(),
        apply.function,
        apply.path
    );
    let method =
        reqwest::Method::from_bytes(apply.method.as_bytes()).map_err(StepError::permanent)?;
    let mut call = shared.client.request(method.clone(), &url);
    for (name, value) in &apply.headers {
        call = call.header(name, value);
    }
    let media = HeaderValue::from_str(content_type.as_str())
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    // A body is no part of these, and a server that does not read it takes it for the next request.
    let call = if [reqwest::Method::GET, reqwest::Method::HEAD].contains(&method) {
        call
    } else {
        call.header(CONTENT_TYPE, media).body(body)
    };
    let call = call
        .header(
            HeaderName::from_static("x-turlough-request-id"),
            context.request.to_string(),
        )
        .header(
            HeaderName::from_static("x-turlough-step"),
            run.step.as_str(),
        )
        .header(HeaderName::from_static("x-turlough-attempt"), run.attempt)
        .header(HeaderName::from_static("x-turlough-idempotency-key"), key);
    let answer = call.send().await.map_err(|error| {
        StepError::transient(format!(
            "call of function {}: {}",
            apply.function,
            chain(&error)
        ))
    })?;
    read(context, apply, answer).await
}

/// The inputs as they are sent. Turning much MessagePack into JSON takes the processor for a while.
async fn leaving(inputs: &Inputs, msgpack: bool) -> Result<(ContentType, Bytes), StepError> {
    let leave = move |inputs: &Inputs| {
        let input = inputs.joined().map_err(StepError::permanent)?;
        input.leaving(msgpack).map_err(StepError::permanent)
    };
    let values = inputs.members.iter().flat_map(|(_, value)| value);
    let size: u64 = values.map(|value| value.envelope().len() as u64).sum();
    if size <= INLINE_WORK_BYTES_MAX {
        return leave(inputs);
    }
    let inputs = inputs.clone();
    blocking::run(move || leave(&inputs)).await
}

async fn read(
    context: &Context,
    apply: &Apply,
    answer: reqwest::Response,
) -> Result<Value, StepError> {
    let status = answer.status();
    let limit = context.shared.settings.body_bytes_max;
    let too_large = |size: u64| {
        StepError::permanent(format!(
            "function {} answered with {size} bytes or more, limit {limit}; raise TURLOUGH_BODY_BYTES_MAX",
            apply.function
        ))
    };
    let announced = answer.content_length().unwrap_or(0);
    if status.is_success() && announced > limit as u64 {
        return Err(too_large(announced));
    }
    let by_gateway = answer.headers().contains_key("x-openfaas-internal");
    let media = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = media.map_or(ContentType::BYTES, ContentType::new);
    // Of an error answer only a little is read, whatever it announces.
    let room = if status.is_success() { announced } else { 0 };
    let room = usize::try_from(room).unwrap_or(0);
    let mut writer = ValueWriter::new(media, Producer::Function, room);
    let mut chunks = answer.bytes_stream();
    loop {
        let chunk = match chunks.try_next().await {
            Ok(chunk) => chunk,
            // What an error answer says is more than that it broke off.
            Err(_) if !status.is_success() => break,
            Err(error) => {
                return Err(StepError::transient(format!(
                    "answer of function {} broke off: {}",
                    apply.function,
                    chain(&error)
                )));
            }
        };
        let Some(chunk) = chunk else { break };
        if !status.is_success() {
            let room = QUOTE_BYTES_MAX.saturating_sub(writer.body_bytes());
            writer.put(&chunk[..chunk.len().min(room)]);
            if room == 0 {
                break;
            }
            continue;
        }
        if writer.body_bytes() + chunk.len() > limit {
            return Err(too_large((writer.body_bytes() + chunk.len()) as u64));
        }
        writer.put(&chunk);
    }
    let value = writer.finish();
    if status.is_success() {
        return Ok(value);
    }
    let quote = String::from_utf8_lossy(&value.body()).trim().to_owned();
    let text = if by_gateway && quote.is_empty() {
        let name = &apply.function;
        format!("function {name} gave the gateway no answer ({status}); see the function's log")
    } else {
        format!("function {} answered {status}: {quote:?}", apply.function)
    };
    let passes = status.is_server_error() || [408, 429].contains(&status.as_u16());
    Err(if passes {
        StepError::transient(text)
    } else {
        StepError::permanent(text)
    })
}

/// The same for every attempt on the same input, another for another input.
fn idempotency_key(context: &Context, run: &Run, body: &[u8]) -> String {
    let input = Digest::of(body);
    let (request, generation) = (context.request, context.generation);
    Digest::of(format!("{request}/{generation}/{}/{input}", run.step).as_bytes()).to_string()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
