//! HTTP's basic authentication, with OpenFaaS's two files: `basic-auth-user`, `basic-auth-password`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{
    AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, WWW_AUTHENTICATE,
};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;

const USER: &str = "basic-auth-user";
const PASSWORD: &str = "basic-auth-password";

/// By it a browser says where a request comes from, even where it names no origin.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may use the API.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Who has the password.
    Password(BasicAuth),
    /// Everybody may look, nobody may change anything.
    Look,
    /// Everybody.
    Anybody,
}

/// A user's name and password.
#[derive(Clone)]
pub(crate) struct BasicAuth(Arc<str>);

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum BasicAuthError {
    #[error("cannot read `{}`, which says who may use the gateway's API", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` is empty; write a user's name, or a password, to it", path.display())]
    Empty { path: PathBuf },
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BasicAuth")
    }
}

impl BasicAuth {
    /// Reads both files of a folder; white space around their texts counts for nothing.
    fn read(folder: &Path) -> Result<Self, BasicAuthError> {
        let read = |name: &str| {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) if text.trim().is_empty() => Err(BasicAuthError::Empty { path }),
                Ok(text) => Ok(text.trim().to_owned()),
                Err(source) => Err(BasicAuthError::Read { path, source }),
            }
        };
        Ok(Self(format!("{}:{}", read(USER)?, read(PASSWORD)?).into()))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let said = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let said = said.and_then(|said| said.split_once(' '));
        let said = said.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let said = said.and_then(|(_, said)| STANDARD.decode(said.trim()).ok());
        said.is_some_and(|said| said.ct_eq(self.0.as_bytes()).into())
    }
}

impl Access {
    pub(crate) fn read(
        folder: Option<&Path>,
        anybody_deploys: bool,
    ) -> Result<Self, BasicAuthError> {
        match folder {
            Some(folder) => Ok(Self::Password(BasicAuth::read(folder)?)),
            None if anybody_deploys => Ok(Self::Anybody),
            None => Ok(Self::Look),
        }
    }
}

pub(super) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    if !request.method().is_safe() && is_of_another_site(request.headers()) {
        let why = "a page of another site asked for this; what is changed here is asked for by pages of the gateway's own address, or by what is no browser";
        return Problem::new(StatusCode::FORBIDDEN, why).into_response();
    }
    match &access {
        Access::Anybody => return next.run(request).await,
        Access::Look if request.method().is_safe() => return next.run(request).await,
        Access::Look => {
            let why = "this gateway asks for no password, so that nothing can be changed; set TURLOUGH_BASIC_AUTH, or TURLOUGH_ANYBODY_DEPLOYS where whoever reaches it may run commands";
            return Problem::new(StatusCode::FORBIDDEN, why).into_response();
        }
        Access::Password(auth) if auth.admits(request.headers()) => return next.run(request).await,
        Access::Password(_) => {}
    }
    let mut refusal = Problem::new(StatusCode::UNAUTHORIZED, "invalid credentials").into_response();
    refusal.headers_mut().insert(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"Restricted\""),
    );
    refusal
}

/// Whether a browser says that a page asks which is not from here. It sends the password that it knows,
/// and reaches what listens on its own machine, whosever page it is.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|it: &HeaderValue| it.to_str().unwrap_or_default())
    };
    if text(SEC_FETCH_SITE) == Some("cross-site") {
        return true;
    }
    let Some(origin) = text(ORIGIN) else {
        return false;
    };
    let of_origin = origin.split_once("://").map(|(_, authority)| authority);
    let host = text(HOST).unwrap_or_default();
    !of_origin.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}
