//! Values in a store's process, over RESP. The process keeps the rules; this asks for them, and finds
//! out what a reply that was lost had been.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{ConnectionAddr, FromRedisValue, Value};
use turlough_sdk::{Digest, RequestId, ValueRef};

use super::error::{BucketError, Failure, GetError, Newer, PutError};
use super::line::{Dialler, Fault, Line, Password, Said, StoreLogin, Wire, read_authorities};
use super::url::StoreUrl;
use super::{DataStore, Dropped, Options, Stored, Usage, beginning, key, lease_ms};
use crate::credential::StepCredential;
use crate::reference::Reference;

/// The shortest password that signs what functions are lent: a shorter one can be guessed from that.
const PASSWORD_BYTES_MIN: usize = 16;
/// How a store begins to say that a value never fits.
const LARGE: &str = "value is";
/// A put that finds a value which is gone when it is looked at is tried again, so often.
const PUTS: u32 = 4;

/// A tenant's values in a store's process.
#[derive(Debug)]
pub(super) struct StoreClient {
    line: Line,
    address: Arc<str>,
    login: Arc<StoreLogin>,
}

/// What stands under a key.
enum Standing {
    Nothing,
    Same,
    Other,
}

impl StoreClient {
    pub(super) async fn open(url: &StoreUrl, options: &Options) -> Result<Self, Failure> {
        let (host, port) = (url.host.clone(), url.port);
        let address = if url.is_tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let authorities = read_authorities(options.authorities.as_deref()).await?;
        let login = StoreLogin {
            address,
            tenant: url.tenant.clone().unwrap_or_else(|| options.tenant.clone()),
            password: url.password.clone(),
            secrets: options.secrets.clone(),
            authorities,
            lease: options.lease,
        };
        Self::with(&url.to_string(), login).await
    }

    pub(super) async fn open_socket(path: &Path, options: &Options) -> Result<Self, Failure> {
        let login = StoreLogin {
            address: ConnectionAddr::Unix(path.to_owned()),
            tenant: options.tenant.clone(),
            password: None,
            secrets: options.secrets.clone(),
            authorities: None,
            lease: options.lease,
        };
        Self::with(&format!("unix:{}", path.display()), login).await
    }

    async fn with(shown: &str, login: StoreLogin) -> Result<Self, Failure> {
        let login = Arc::new(login);
        let dialler = Dialler::store(shown.into(), Arc::clone(&login));
        let (line, wire) = Line::open(dialler).await?;
        Ok(Self {
            line,
            address: wire.address,
            login,
        })
    }

    /// What stands under a key, beside a value of this digest.
    async fn look(&self, key: &str, size: u64, digest: Digest) -> Result<(Standing, Wire), Fault> {
        let mut command = redis::cmd("BUCKET.REF");
        command.arg(key);
        let (value, wire) = self.line.ask(&command, 0).await?;
        let fields = fields(value);
        if fields.is_empty() {
            return Ok((Standing::Nothing, wire));
        }
        let is = |name: &str, text: String| {
            let mut found = fields.iter().filter(|(field, _)| field == name);
            found.any(|(_, value)| String::from_redis_value_ref(value).is_ok_and(|it| it == text))
        };
        let is_same = is("size", size.to_string()) && is("digest", digest.to_string());
        let standing = if is_same {
            Standing::Same
        } else {
            Standing::Other
        };
        Ok((standing, wire))
    }
}

/// What a bucket was asked for came to.
fn of_bucket(
    asked: Result<(Value, Wire), Fault>,
    epoch: u64,
    attempted: impl Fn() -> String,
) -> Result<Value, BucketError> {
    match asked {
        Ok((value, _)) => Ok(value),
        Err(fault) => Err(match newer(&fault) {
            Some(newer) => BucketError::Stale {
                attempted: attempted(),
                epoch,
                newer,
            },
            None => fault.failure(attempted()).into(),
        }),
    }
}

#[async_trait]
impl DataStore for StoreClient {
    fn address(&self) -> &str {
        &self.address
    }

    async fn put(
        &self,
        request: RequestId,
        epoch: u64,
        key: &str,
        envelope: Bytes,
    ) -> Result<ValueRef, PutError> {
        key::checked(request, key, envelope.len())?;
        let (size, digest) = (envelope.len() as u64, Digest::of(&envelope));
        let failed = |fault| put_error(fault, key, epoch, size);
        let stored = |wire: Wire| ValueRef::Stored {
            store: wire.address,
            boot: wire.boot,
            key: key.into(),
            size,
            digest,
        };
        let mut command = redis::cmd("SET");
        command.arg(key).arg(&envelope[..]);
        command.arg("NX").arg("EPOCH").arg(epoch);
        for _ in 0..PUTS {
            let asked = self.line.ask(&command, envelope.len()).await;
            let (answer, wire) = asked.map_err(failed)?;
            if answer != Value::Nil {
                return Ok(stored(wire));
            }
            match self.look(key, size, digest).await.map_err(failed)?.0 {
                Standing::Same => return Ok(stored(wire)),
                Standing::Other => {
                    return Err(PutError::Exists {
                        key: key.to_owned(),
                    });
                }
                // It was dropped meanwhile.
                Standing::Nothing => {}
            }
        }
        Err(failed(Fault::Away(
            "the bucket was dropped again and again".to_owned(),
        )))
    }

    async fn get(&self, _: RequestId, at: Stored<'_>) -> Result<Bytes, GetError> {
        let size = usize::try_from(at.size).unwrap_or(usize::MAX);
        if at.store == &*self.address {
            let mut get = redis::cmd("GET");
            get.arg(at.key);
            let asked = self.line.ask(&get, size).await;
            let (value, wire) = asked.map_err(|fault| failed(fault, at))?;
            // What another boot took in its place was put by somebody who made it anew.
            if wire.boot == at.boot
                && let Value::BulkString(found) = value
            {
                return at.checked(found.into());
            }
        }
        // The store asks whoever owns it, or has its copy.
        let reference = Reference {
            store: at.store.to_owned(),
            boot: at.boot,
            key: at.key.as_bytes().to_vec(),
            size: at.size,
            digest: at.digest,
            backup: None,
        };
        let mut get = redis::cmd("REF.GET");
        get.arg(reference.to_string());
        match self.line.ask_afar(at.store, &get, size).await {
            Ok((Value::BulkString(found), _)) => at.checked(found.into()),
            // What is no reference of a store's names what lay elsewhere, when values were kept there; and
            // what is too large to be read will not become smaller.
            Err(Fault::Said(Said { code, text }))
                if code == "LOST" || code == "ERR" || text.starts_with(LARGE) =>
            {
                Err(at.lost())
            }
            Ok(_) => Err(at.lost()),
            Err(fault) => Err(failed(fault, at)),
        }
    }

    async fn check(&self, request: RequestId, at: Stored<'_>) -> Result<(), GetError> {
        if at.store == &*self.address {
            let looked = self.look(at.key, at.size, at.digest).await;
            let (standing, wire) = looked.map_err(|fault| failed(fault, at))?;
            if wire.boot == at.boot && matches!(standing, Standing::Same) {
                return Ok(());
            }
        }
        self.get(request, at).await.map(drop)
    }

    async fn head(
        &self,
        request: RequestId,
        at: Stored<'_>,
        bytes: usize,
    ) -> Result<Bytes, GetError> {
        if at.store == &*self.address {
            let mut range = redis::cmd("GETRANGE");
            range.arg(at.key).arg(0).arg(bytes.saturating_sub(1));
            let asked = self.line.ask(&range, bytes).await;
            let (value, wire) = asked.map_err(|fault| failed(fault, at))?;
            if wire.boot == at.boot
                && let Value::BulkString(found) = value
                && found.len() as u64 == at.size.min(bytes as u64)
            {
                return Ok(found.into());
            }
        }
        self.get(request, at)
            .await
            .map(|whole| beginning(&whole, bytes))
    }

    async fn lend(&self, credential: &StepCredential) -> Result<Option<String>, Failure> {
        let attempted = || "lending a value to a function".to_owned();
        let password = self.login.password().await;
        let Some(Password(password)) = password.map_err(|fault| fault.failure(attempted()))? else {
            return Ok(None);
        };
        if password.len() < PASSWORD_BYTES_MIN {
            return Err(Failure::Denied {
                attempted: attempted(),
                reason: format!(
                    "the password of tenant {} is {} bytes, at least {PASSWORD_BYTES_MIN} are wanted: a function that has a credential could guess it",
                    self.login.tenant,
                    password.len()
                ),
            });
        }
        let signed = credential.sign(password.as_bytes());
        let signed = signed.map_err(|error| Failure::Denied {
            attempted: attempted(),
            reason: error.to_string(),
        })?;
        Ok(Some(format!("{} {signed}", self.login.tenant)))
    }

    async fn drop_bucket(&self, request: RequestId, epoch: u64) -> Result<Dropped, BucketError> {
        let mut command = redis::cmd("BUCKET.DROP");
        command.arg(request.to_string()).arg(epoch);
        let attempted = || format!("dropping the bucket of request {request}");
        let value = of_bucket(self.line.ask(&command, 0).await, epoch, attempted)?;
        let fields = fields(value);
        Ok(Dropped {
            keys: number(&fields, "keys").unwrap_or(0),
            bytes: number(&fields, "bytes").unwrap_or(0),
        })
    }

    async fn lease(
        &self,
        request: RequestId,
        epoch: u64,
        lease: Duration,
    ) -> Result<bool, BucketError> {
        let mut command = redis::cmd("BUCKET.LEASE");
        command.arg(request.to_string()).arg(epoch);
        command.arg(lease_ms(lease));
        let attempted = || format!("setting the lease of the bucket of request {request}");
        let value = of_bucket(self.line.ask(&command, 0).await, epoch, attempted)?;
        Ok(value == Value::Int(1))
    }

    async fn usage(&self) -> Result<Option<Usage>, Failure> {
        let asked = self.line.ask(&redis::cmd("TENANT.STAT"), 0).await;
        let failed = |fault: Fault| fault.failure("looking at what the tenant holds".to_owned());
        let (value, _) = asked.map_err(failed)?;
        let fields = fields(value);
        let usage = |(bytes, soft)| Usage { bytes, soft };
        Ok(number(&fields, "bytes")
            .zip(number(&fields, "soft"))
            .map(usage))
    }

    async fn drop_at(
        &self,
        store: &str,
        request: RequestId,
        epoch: u64,
    ) -> Result<(), BucketError> {
        let mut command = redis::cmd("BUCKET.DROP");
        command.arg(request.to_string()).arg(epoch);
        command.arg("AT").arg(store);
        let attempted = || format!("dropping the bucket of request {request} at {store}");
        of_bucket(
            self.line.ask_afar(store, &command, 0).await,
            epoch,
            attempted,
        )
        .map(drop)
    }

    async fn lease_at(
        &self,
        store: &str,
        request: RequestId,
        epoch: u64,
        lease: Duration,
    ) -> Result<(), BucketError> {
        let mut command = redis::cmd("BUCKET.LEASE");
        command.arg(request.to_string()).arg(epoch);
        command.arg(lease_ms(lease)).arg("AT").arg(store);
        let attempted = || format!("setting the lease of request {request} at {store}");
        of_bucket(
            self.line.ask_afar(store, &command, 0).await,
            epoch,
            attempted,
        )
        .map(drop)
    }
}

fn failed(fault: Fault, at: Stored<'_>) -> GetError {
    fault.failure(format!("getting {}", at.key)).into()
}

/// What the bucket has heard of, where it says that it has heard of something newer.
fn newer(fault: &Fault) -> Option<Newer> {
    const AT: &str = " at epoch ";
    let Fault::Said(Said { code, text }) = fault else {
        return None;
    };
    // What comes before is its name.
    let at = text.rfind(AT).filter(|_| code == "EPOCH")?;
    let digits = text[at + AT.len()..].split(|c: char| !c.is_ascii_digit());
    Some(Newer {
        epoch: digits.into_iter().next()?.parse().ok()?,
        is_dropped: text[..at].ends_with("dropped"),
    })
}

/// What a refusal of a put means.
fn put_error(fault: Fault, key: &str, epoch: u64, size: u64) -> PutError {
    let key = key.to_owned();
    if let Some(newer) = newer(&fault) {
        return PutError::Stale { key, epoch, newer };
    }
    let Fault::Said(said) = fault else {
        return fault
            .failure(format!("putting {size} bytes under {key}"))
            .into();
    };
    match said.code.as_str() {
        "QUOTA" | "OOM" if !said.text.starts_with(LARGE) => PutError::Full {
            key,
            size,
            reason: said.text,
        },
        "ERR" | "QUOTA" | "OOM" if said.text.starts_with(LARGE) => PutError::Invalid {
            key,
            size,
            reason: said.text,
        },
        _ => Fault::Said(said)
            .failure(format!("putting {size} bytes under {key}"))
            .into(),
    }
}

/// Names with values, as a map or as a list of both in turn; none where there is nothing.
fn fields(value: Value) -> Vec<(String, Value)> {
    Vec::from_redis_value(value).unwrap_or_default()
}

/// The number of that name.
fn number(fields: &[(String, Value)], name: &str) -> Option<u64> {
    let mut found = fields.iter().filter(|(field, _)| field == name);
    found.find_map(|(_, value)| u64::from_redis_value_ref(value).ok())
}
