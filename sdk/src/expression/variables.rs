//! What an expression may know beside its input: `$request`, `$headers`, and so on.
//!
//! Invariant: only what the source mentions is turned into a jq value, so that the rest costs
//! nothing; what needs loading is loaded by the caller only where [`Uses`] says so.

use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_json::Val;
use serde_json::Value as Json;

use super::output;
use crate::value::Value;

/// Values of an expression's variables. What is left out is an empty text, `null` or 0.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// `$request`: the request's id.
    pub request: String,
    /// `$flow`: the flow's name.
    pub flow: String,
    /// `$node`: the step's path, `months[3]/clean`.
    pub node: String,
    /// `$attempt`: which try this is, from 1.
    pub attempt: u32,
    /// `$query`: the query of the request's URL, an object of strings.
    pub query: Json,
    /// `$headers`: the request's headers, an object of strings.
    pub headers: Json,
    /// `$input`: the request's input.
    pub input: Option<Value>,
    /// `$vars`: what the flow or the replica was set up with, an object.
    pub vars: Json,
    /// `$error`: `{step, message, cause}` where something failed before, otherwise null.
    pub error: Json,
}

/// Which variables a source mentions. What it binds itself under one of these names counts too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the variable of its name")]
pub struct Uses {
    pub request: bool,
    pub flow: bool,
    pub node: bool,
    pub attempt: bool,
    pub query: bool,
    pub headers: bool,
    pub input: bool,
    pub vars: bool,
    pub error: bool,
}

/// Every variable, in the order of [`Uses::flags`].
pub(super) const NAMES: [&str; 9] = [
    "$request", "$flow", "$node", "$attempt", "$query", "$headers", "$input", "$vars", "$error",
];

impl Uses {
    /// Reads them from a source. What is no jq mentions nothing: the parser says why.
    pub(super) fn of(source: &str) -> Self {
        let mut uses = Self::default();
        if let Ok(tokens) = Lexer::new(source).lex() {
            uses.take(&tokens);
        }
        uses
    }

    fn take(&mut self, tokens: &[Token<&str>]) {
        for Token(text, token) in tokens {
            match token {
                Tok::Var => {
                    if let Some(ix) = NAMES.iter().position(|name| name == text) {
                        *self.flags_mut()[ix] = true;
                    }
                }
                Tok::Block(block) => self.take(block),
                Tok::Str(parts) => {
                    for part in parts {
                        if let StrPart::Term(term) = part {
                            self.take(std::slice::from_ref(term));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn flags_mut(&mut self) -> [&mut bool; 9] {
        [
            &mut self.request,
            &mut self.flow,
            &mut self.node,
            &mut self.attempt,
            &mut self.query,
            &mut self.headers,
            &mut self.input,
            &mut self.vars,
            &mut self.error,
        ]
    }

    fn flags(mut self) -> [bool; 9] {
        self.flags_mut().map(|flag| *flag)
    }

    /// The names of what is mentioned, in their order.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        let mentioned = NAMES.into_iter().zip(self.flags());
        mentioned.filter_map(|(name, used)| used.then_some(name))
    }
}

impl Variables {
    /// Without what is not mentioned, as it is handed to another process.
    #[must_use]
    pub fn only(&self, uses: Uses) -> Self {
        let text = |used: bool, text: &String| if used { text.clone() } else { String::new() };
        let json = |used: bool, json: &Json| if used { json.clone() } else { Json::Null };
        Self {
            request: text(uses.request, &self.request),
            flow: text(uses.flow, &self.flow),
            node: text(uses.node, &self.node),
            attempt: if uses.attempt { self.attempt } else { 0 },
            query: json(uses.query, &self.query),
            headers: json(uses.headers, &self.headers),
            input: self.input.clone().filter(|_| uses.input),
            vars: json(uses.vars, &self.vars),
            error: json(uses.error, &self.error),
        }
    }

    /// The values of what is mentioned, in the order of the names.
    pub(super) fn values(&self, uses: Uses) -> Result<Vec<Val>, String> {
        let mut values = Vec::new();
        for name in uses.names() {
            let value = match name {
                "$request" => text(&self.request),
                "$flow" => text(&self.flow),
                "$node" => text(&self.node),
                "$attempt" => Ok(Val::from(self.attempt as usize)),
                "$query" => json(&self.query),
                "$headers" => json(&self.headers),
                "$input" => self.input.as_ref().map_or(Ok(Val::Null), output::read),
                "$vars" => json(&self.vars),
                _ => json(&self.error),
            };
            values.push(value.map_err(|reason| format!("{name}: {reason}"))?);
        }
        Ok(values)
    }

    /// About how many bytes of JSON are mentioned.
    pub(super) fn bytes(&self, uses: Uses) -> u64 {
        let count = |name| match name {
            "$request" => self.request.len(),
            "$flow" => self.flow.len(),
            "$node" => self.node.len(),
            "$attempt" => 10,
            "$query" => bytes(&self.query),
            "$headers" => bytes(&self.headers),
            "$input" => self
                .input
                .as_ref()
                .map_or(4, |input| input.envelope().len()),
            "$vars" => bytes(&self.vars),
            _ => bytes(&self.error),
        };
        uses.names().map(|name| count(name) as u64 + 2).sum()
    }
}

fn text(text: &str) -> Result<Val, String> {
    Ok(Val::utf8_str(text.as_bytes().to_vec()))
}

fn json(json: &Json) -> Result<Val, String> {
    match json {
        Json::Null => Ok(Val::Null),
        Json::String(string) => text(string),
        // By way of the text, whose reader bounds what it reads.
        json => output::from_json(json.to_string().as_bytes()),
    }
}

fn bytes(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) => 5,
        Json::Number(_) => 24,
        Json::String(text) => text.len() + 2,
        Json::Array(items) => items.iter().map(|item| bytes(item) + 1).sum::<usize>() + 2,
        Json::Object(members) => {
            let member = |(key, member): (&String, &Json)| key.len() + bytes(member) + 4;
            members.iter().map(member).sum::<usize>() + 2
        }
    }
}
