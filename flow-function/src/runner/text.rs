//! Texts that a call sends, besides its body: as they stand, computed, or secret.
//!
//! Invariants: what was computed or is secret is one line, so that it cannot add a header or end the
//! head of a message; what is secret stands in no error, whoever tells it.

use std::io::ErrorKind;
use std::path::Path;

use turlough_sdk::{Expression, Limits, StepError, Text, Value};

use super::Failure;
use super::scope::Scope;

/// Shortest secret that is taken out of errors, in bytes: a shorter one stands in every text.
const HIDDEN_BYTES_MIN: usize = 4;

/// The texts of one call, and which secrets it holds.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    scope: &'a Scope,
    input: &'a Value,
    pub(super) hidden: Hidden,
}

/// Secrets that a call holds.
#[derive(Default)]
pub(super) struct Hidden(Vec<String>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({})", self.0.len())
    }
}

impl Hidden {
    pub(super) fn add(&mut self, secret: &str) {
        let mut escaped = String::new();
        percent_encode(secret, &mut escaped);
        for form in [secret, &escaped] {
            if form.len() >= HIDDEN_BYTES_MIN && !self.0.iter().any(|known| known == form) {
                self.0.push(form.to_owned());
            }
        }
        // Where one stands in another, the longer one goes first.
        self.0.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// Length of the longest, in bytes.
    pub(super) fn bytes_max(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }

    /// `text` without the secrets.
    pub(super) fn clean(&self, mut text: String) -> String {
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "[secret]");
            }
        }
        text
    }
}

impl<'a> Texts<'a> {
    /// Computed ones are computed on `input`.
    pub(super) fn new(scope: &'a Scope, input: &'a Value) -> Self {
        let hidden = Hidden::default();
        Self {
            scope,
            input,
            hidden,
        }
    }

    /// A text as it is sent; `what` names it in errors.
    pub(super) async fn read(&mut self, text: &Text, what: &str) -> Result<String, Failure> {
        let read = match text {
            Text::Literal(text) => return Ok(text.clone()),
            Text::Jq(expression) => self.computed(expression, what).await?,
            Text::Secret(name) => {
                let secret = secret(&self.scope.context().shared.settings.secrets, name).await?;
                self.hidden.add(&secret);
                secret
            }
        };
        Ok(one_line(read, what)?)
    }

    async fn computed(&self, expression: &Expression, what: &str) -> Result<String, Failure> {
        let value = self.scope.jq(expression, self.input).await?;
        Ok(scalar(&value).map_err(|found| {
            let source: String = expression.source().chars().take(200).collect();
            StepError::permanent(format!(
                "{what}: jq {source:?} gave {found}; it wants a string, a number or a boolean"
            ))
        })?)
    }
}

/// A string, a number or a boolean as it is sent; otherwise what it is.
fn scalar(value: &Value) -> Result<String, &'static str> {
    match value.decode() {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(serde_json::Value::Number(number)) => Ok(number.to_string()),
        Ok(serde_json::Value::Bool(yes)) => Ok(yes.to_string()),
        Ok(serde_json::Value::Null) if value.is_empty() => Err("nothing"),
        Ok(serde_json::Value::Null) => Err("null"),
        Ok(serde_json::Value::Array(_)) => Err("a list"),
        Ok(serde_json::Value::Object(_)) => Err("an object"),
        Err(_) => Err("bytes"),
    }
}

/// The content of a secret, without the newline that editors put at its end.
async fn secret(folder: &Path, name: &str) -> Result<String, StepError> {
    let content = tokio::fs::read(folder.join(name)).await;
    let content = content.map_err(|error| {
        StepError::permanent(match error.kind() {
            ErrorKind::NotFound => {
                format!("secret {name} is missing; create it, and give it to this function")
            }
            kind => format!("secret {name} cannot be read: {kind}"),
        })
    })?;
    let text = String::from_utf8(content)
        .map_err(|_| StepError::permanent(format!("secret {name} is no text")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn one_line(text: String, what: &str) -> Result<String, StepError> {
    let (found, limit) = (text.len(), Limits::TEXT_BYTES_MAX);
    if found > limit {
        let text = format!("{what} is {found} bytes, limit {limit}; send it in the body");
        return Err(StepError::permanent(text));
    }
    if text.chars().any(char::is_control) {
        let text = format!("{what} has line breaks or control characters; send it in the body");
        return Err(StepError::permanent(text));
    }
    Ok(text)
}

/// A path after a function's name: empty, or beginning with `/` or `?`, and leading nowhere else.
pub(super) fn clean_path(path: &str) -> Result<(), StepError> {
    let before_query = path.split('?').next().unwrap_or_default();
    let is_dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    let problem = if !(path.is_empty() || path.starts_with(['/', '?'])) {
        "does not begin with / or ?"
    } else if !path
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"#\\".contains(&b))
    {
        "has characters that must be escaped"
    } else if before_query.split('/').any(is_dots) {
        "leads out of the function"
    } else {
        return Ok(());
    };
    Err(StepError::permanent(format!(
        "path of the call {problem}; mend it"
    )))
}

/// A URL or path with query parameters added to it.
pub(crate) fn with_query(mut url: String, query: &[(String, String)]) -> String {
    for (name, value) in query {
        let joint = match url.find('?') {
            Some(_) if url.ends_with(['?', '&']) => "",
            Some(_) => "&",
            None => "?",
        };
        url.push_str(joint);
        percent_encode(name, &mut url);
        url.push('=');
        percent_encode(value, &mut url);
    }
    url
}

fn percent_encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use turlough_sdk::{ContentType, Producer};

    use super::*;

    #[test]
    fn what_is_computed_must_be_a_scalar_of_one_line() {
        let json = |text: &str| Value::new(ContentType::JSON, Producer::Closure, text.as_bytes());
        let check = |text: &str, expected: Result<&str, &'static str>| {
            assert_eq!(scalar(&json(text)), expected.map(str::to_owned), "{text}");
        };
        check("\"a b\"", Ok("a b"));
        check("3", Ok("3"));
        check("1.5", Ok("1.5"));
        check("true", Ok("true"));
        check("null", Err("null"));
        check("[1]", Err("a list"));
        check("{}", Err("an object"));
        assert_eq!(scalar(&Value::empty()), Err("nothing"));
        for bad in ["a\r\nX-Evil: 1", "a\nb", "a\0", "a\u{7f}", "a\u{85}", "\t"] {
            assert!(one_line(bad.to_owned(), "header X").is_err(), "{bad:?}");
        }
        assert!(one_line("a b ü".to_owned(), "header X").is_ok());
        assert!(one_line("x".repeat(Limits::TEXT_BYTES_MAX + 1), "header X").is_err());
    }

    #[test]
    fn a_computed_path_stays_behind_the_functions_name() {
        for clean in ["", "/", "?a=b", "/a/b?c=../d", "/a.b/..c/...", "/%20"] {
            assert!(clean_path(clean).is_ok(), "{clean}");
        }
        for bad in [
            "a",
            ".other",
            "/..",
            "/a/../../system/functions",
            "/a/%2e%2E/b",
            "/.%2e/b",
            "/./a",
            "/a\\..\\b",
            "/a b",
            "/a#b",
            "/ü",
        ] {
            assert!(clean_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn query_parameters_are_escaped_and_added() {
        let query = |pairs: &[(&str, &str)]| -> Vec<_> {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        let check = |url: &str, pairs: &[(&str, &str)], expected: &str| {
            assert_eq!(with_query(url.to_owned(), &query(pairs)), expected);
        };
        check("/x", &[], "/x");
        check(
            "/x",
            &[("a b", "&=#%ü\n")],
            "/x?a%20b=%26%3D%23%25%C3%BC%0A",
        );
        check("/x?c", &[("a", "1"), ("a", "2")], "/x?c&a=1&a=2");
        check("?", &[("a", "~-._")], "?a=~-._");
    }

    #[test]
    fn a_secret_stands_in_no_text() {
        let mut hidden = Hidden::default();
        hidden.add("s3cr3t");
        hidden.add("xyz");
        hidden.add("s3cr3t and more=");
        assert_eq!(
            hidden.clean("?k=s3cr3t%20and%20more%3D".to_owned()),
            "?k=[secret]"
        );
        assert_eq!(hidden.clean("s3cr3t and more=".to_owned()), "[secret]");
        let text = hidden.clean("it said s3cr3t, s3cr3t and xyz".to_owned());
        assert_eq!(text, "it said [secret], [secret] and xyz");
        assert_eq!(format!("{hidden:?}"), "Hidden(3)");
    }

    #[tokio::test]
    async fn a_secret_is_read_at_each_call_without_its_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let error = secret(folder.path(), "key").await.unwrap_err();
        assert_eq!(
            error.message,
            "secret key is missing; create it, and give it to this function"
        );
        for (content, expected) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a ", "a ")] {
            std::fs::write(folder.path().join("key"), content).unwrap();
            assert_eq!(secret(folder.path(), "key").await.unwrap(), expected);
        }
        std::fs::write(folder.path().join("key"), [0xff]).unwrap();
        let error = secret(folder.path(), "key").await.unwrap_err();
        assert_eq!(error.message, "secret key is no text");
    }
}
