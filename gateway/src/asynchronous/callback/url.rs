//! `X-Callback-Url`, read.

use std::net::IpAddr;

use http::uri::{Scheme, Uri};
use http::{HeaderValue, uri::Authority};

/// An absolute URL that the gateway can post to.
#[derive(Clone, Debug)]
pub(in crate::asynchronous) struct CallbackUrl {
    uri: Uri,
    authority: Authority,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "cannot call back {url:?}: {reason}; set X-Callback-Url to http://host[:port]/path or https://host[:port]/path"
)]
pub(in crate::asynchronous) struct CallbackUrlError {
    url: String,
    reason: &'static str,
}

impl CallbackUrl {
    /// Reads a header; one that is empty is none.
    pub(in crate::asynchronous) fn of(
        header: Option<&HeaderValue>,
        allows_link_local: bool,
    ) -> Result<Option<Self>, CallbackUrlError> {
        match header.map(HeaderValue::as_bytes) {
            None | Some(b"") => Ok(None),
            Some(text) => Self::parse(text, allows_link_local)
                .map(Some)
                .map_err(|reason| {
                    let url = String::from_utf8_lossy(text).into_owned();
                    CallbackUrlError { url, reason }
                }),
        }
    }

    /// Reads one that was accepted.
    pub(super) fn read(text: &str, allows_link_local: bool) -> Result<Self, CallbackUrlError> {
        Self::parse(text.as_bytes(), allows_link_local).map_err(|reason| CallbackUrlError {
            url: text.to_owned(),
            reason,
        })
    }

    fn parse(text: &[u8], allows_link_local: bool) -> Result<Self, &'static str> {
        let uri = Uri::try_from(text).map_err(|_| "it is not a URL")?;
        let schemes = [Scheme::HTTP, Scheme::HTTPS];
        if !uri.scheme().is_some_and(|scheme| schemes.contains(scheme)) {
            return Err("it is neither http nor https");
        }
        let authority = uri.authority().cloned().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user or password, which would not be sent");
        }
        if authority.host().is_empty() {
            return Err("it has no host");
        }
        if !allows_link_local && names_link_local(authority.host()) {
            return Err(
                "it is a link-local address, which tells of this machine to whoever asks it, unless TURLOUGH_CALLBACK_LINK_LOCAL lets it",
            );
        }
        // A port that is no number of 16 bits would be taken for none.
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err("its port is not a number from 0 to 65535");
        }
        Ok(Self { uri, authority })
    }

    pub(in crate::asynchronous) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What a log may hold: a path or a query can be a secret.
    pub(super) fn host(&self) -> &str {
        self.authority.as_str()
    }

    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

/// A host that is such an address; one that is a name is looked at when it is called.
fn names_link_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().is_ok_and(is_link_local)
}

/// Addresses of the link alone, where clouds tell machines their secrets.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_that_could_not_be_posted_to_is_refused_with_its_reason() {
        for (text, reason) in [
            ("nonsense with spaces", "not a URL"),
            ("http://", "not a URL"),
            ("http:///path", "not a URL"),
            ("/path", "neither http nor https"),
            ("host:80", "neither http nor https"),
            ("ftp://host/path", "neither http nor https"),
            ("http://:80/path", "no host"),
            ("http://user:secret@host/", "user or password"),
            ("http://host:99999/", "port"),
            ("http://169.254.169.254/latest", "link-local"),
            ("http://[fe80::1]/", "link-local"),
            ("http://[::ffff:169.254.1.1]:80/", "link-local"),
        ] {
            let header = HeaderValue::from_static(text);
            let error = CallbackUrl::of(Some(&header), false)
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn url_is_kept_as_it_is_written() {
        for text in [
            "http://host/",
            "https://host:8443/a%2Fb?c=%20",
            "HTTP://[::1]:80/",
            "http://169.254.1.1/",
        ] {
            let header = HeaderValue::from_static(text);
            let url = CallbackUrl::of(Some(&header), true).unwrap().unwrap();
            assert_eq!(url.uri().to_string().to_lowercase(), text.to_lowercase());
        }
    }

    #[test]
    fn no_header_and_an_empty_one_ask_for_no_callback() {
        let empty = HeaderValue::from_static("");
        assert!(CallbackUrl::of(None, false).unwrap().is_none());
        assert!(CallbackUrl::of(Some(&empty), false).unwrap().is_none());
    }
}
