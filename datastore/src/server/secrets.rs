//! Who a client is, by a password: of a tenant, in the file `turlough-store-<tenant>` of the folder of
//! secrets; of whoever administers, in `turlough-store-admin`. A file is read when somebody names it, so
//! that a password that was changed counts at once.

use std::fs;
use std::path::PathBuf;

use subtle::ConstantTimeEq as _;
use turlough_sdk::TenantId;

use crate::credential::StepCredential;

/// Who administers tenants, and has no data.
pub(crate) const ADMIN: &str = "admin";
/// The tenant of whoever need not say who it is.
pub(crate) const DEFAULT: &str = "default";
const PREFIX: &str = "turlough-store-";

/// A folder of passwords.
#[derive(Debug, Clone)]
pub(crate) struct Secrets(PathBuf);

/// Who was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Tenant(TenantId),
    /// A step of a tenant's.
    Step(TenantId, StepCredential),
    Admin,
}

impl Secrets {
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Whether nobody has a password, so that whoever is on this host need not give one.
    pub(crate) fn is_open(&self) -> bool {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten();
        !files
            .into_iter()
            .any(|file| file.file_name().to_string_lossy().starts_with(PREFIX))
    }

    /// Where a password is to be put.
    pub(crate) fn place(&self) -> String {
        self.0
            .join(format!("{PREFIX}<tenant>"))
            .display()
            .to_string()
    }

    /// A tenant's own password; none where nobody has one.
    pub(crate) fn password(&self, tenant: &str) -> Option<String> {
        let text = fs::read_to_string(self.0.join(format!("{PREFIX}{tenant}"))).ok()?;
        Some(text.trim_ascii_end().to_owned())
    }

    /// Who has this name and this password.
    pub(crate) fn who(&self, name: &[u8], password: &[u8], now_unix_ms: u64) -> Option<Who> {
        let name = std::str::from_utf8(name).ok()?;
        // A name that is one of a tenant is one of a file, too.
        let tenant: TenantId = name.parse().ok()?;
        let held = fs::read(self.0.join(format!("{PREFIX}{tenant}"))).ok()?;
        let held = held.trim_ascii_end();
        if held.is_empty() {
            return None;
        }
        // Who administers has no data, and no steps.
        if name != ADMIN && StepCredential::is_one(password) {
            let step = StepCredential::verify(password, held, now_unix_ms);
            return step.ok().map(|step| Who::Step(tenant, step));
        }
        if !bool::from(held.ct_eq(password)) {
            return None;
        }
        Some(match name {
            ADMIN => Who::Admin,
            _ => Who::Tenant(tenant),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_that_of_its_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path().to_owned());
        assert!(secrets.is_open());
        for (name, password) in [("acme", "secret\n"), ("admin", "root"), ("empty", "\n")] {
            fs::write(folder.path().join(format!("{PREFIX}{name}")), password).unwrap();
        }
        assert!(!secrets.is_open());
        let who = |name: &str, password: &str| secrets.who(name.as_bytes(), password.as_bytes(), 0);
        assert_eq!(
            who("acme", "secret"),
            Some(Who::Tenant("acme".parse().unwrap()))
        );
        assert_eq!(who("admin", "root"), Some(Who::Admin));
        for (name, password) in [
            ("acme", "secret\n"),
            ("acme", ""),
            ("acme", "root"),
            ("empty", ""),
            ("other", "secret"),
            ("../turlough-store-acme", "secret"),
            ("", "secret"),
        ] {
            assert_eq!(who(name, password), None, "{name} {password}");
        }
        assert_eq!(secrets.who(b"\xff", b"secret", 0), None);
        let step = StepCredential {
            until_unix_ms: 1,
            read: Vec::new(),
            write: None,
            epoch: 0,
        };
        let signed = step.sign(b"secret").unwrap();
        let acme = "acme".parse().unwrap();
        assert_eq!(who("acme", &signed), Some(Who::Step(acme, step.clone())));
        assert_eq!(who("other", &signed), None);
        assert_eq!(who("admin", &step.sign(b"root").unwrap()), None);
        assert_eq!(who("empty", &step.sign(b"").unwrap()), None);
    }
}
