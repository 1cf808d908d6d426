//! Values in a store's process, over RESP. The process keeps the rules; this asks for them, and finds
//! out what a reply that was lost had been.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, ConnectionAddr, FromRedisValue, Value};
use turlough_sdk::{Digest, RequestId, ValueRef};

use super::error::{BucketError, Failure, GetError, PutError};
use super::line::{Dialler, Fault, Line, Said, StoreLogin, Wire, read_authorities};
use super::url::StoreUrl;
use super::{DataStore, Options, Stored, key, lease_ms};
use crate::memory::Dropped;
use crate::reference::Reference;

/// A put that finds a value which is gone when it is looked at is tried again, so often.
const PUTS: u32 = 4;

/// A tenant's values in a store's process.
#[derive(Debug)]
pub(super) struct StoreClient {
    line: Line,
    address: Arc<str>,
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
        };
        Self::with(&format!("unix:{}", path.display()), login).await
    }

    async fn with(shown: &str, login: StoreLogin) -> Result<Self, Failure> {
        let (line, wire) = Line::open(Dialler::store(shown.into(), login)).await?;
        Ok(Self {
            line,
            address: wire.address,
        })
    }

    /// What stands under a key, beside a value of this digest.
    async fn look(&self, key: &str, size: u64, digest: Digest) -> Result<Standing, Fault> {
        let mut command = redis::cmd("BUCKET.REF");
        command.arg(key);
        let (value, _) = self.line.ask(&command, 0).await?;
        let fields = fields(value);
        if fields.is_empty() {
            return Ok(Standing::Nothing);
        }
        let is = |name: &str, text: String| {
            let mut found = fields.iter().filter(|(field, _)| field == name);
            found.any(|(_, value)| String::from_redis_value_ref(value).is_ok_and(|it| it == text))
        };
        let is_same = is("size", size.to_string()) && is("digest", digest.to_string());
        Ok(if is_same {
            Standing::Same
        } else {
            Standing::Other
        })
    }

    async fn read(&self, command: &Cmd, at: Stored<'_>) -> Result<(Value, Wire), Fault> {
        let size = usize::try_from(at.size).unwrap_or(usize::MAX);
        self.line.ask(command, size).await
    }

    async fn of_bucket(
        &self,
        command: &Cmd,
        epoch: u64,
        attempted: impl Fn() -> String,
    ) -> Result<Value, BucketError> {
        match self.line.ask(command, 0).await {
            Ok((value, _)) => Ok(value),
            Err(Fault::Said(Said { code, text })) if code == "EPOCH" => Err(BucketError::Stale {
                attempted: attempted(),
                epoch,
                reason: text,
            }),
            Err(fault) => Err(fault.failure(attempted()).into()),
        }
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
            match self.look(key, size, digest).await.map_err(failed)? {
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
        if at.store == &*self.address {
            let mut get = redis::cmd("GET");
            get.arg(at.key);
            let (value, wire) = self
                .read(&get, at)
                .await
                .map_err(|fault| failed(fault, at))?;
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
        match self.read(&get, at).await {
            Ok((Value::BulkString(found), _)) => at.checked(found.into()),
            Err(Fault::Said(Said { code, .. })) if code == "LOST" => Err(at.lost()),
            Ok(_) => Err(at.lost()),
            Err(fault) => Err(failed(fault, at)),
        }
    }

    async fn drop_bucket(&self, request: RequestId, epoch: u64) -> Result<Dropped, BucketError> {
        let mut command = redis::cmd("BUCKET.DROP");
        command.arg(request.to_string()).arg(epoch);
        let attempted = || format!("dropping the bucket of request {request}");
        let value = self.of_bucket(&command, epoch, attempted).await?;
        let fields = fields(value);
        let number = |name: &str| {
            let mut found = fields.iter().filter(|(field, _)| field == name);
            found.find_map(|(_, value)| u64::from_redis_value_ref(value).ok())
        };
        Ok(Dropped {
            keys: number("keys").unwrap_or(0),
            bytes: number("bytes").unwrap_or(0),
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
        let value = self.of_bucket(&command, epoch, attempted).await?;
        Ok(value == Value::Int(1))
    }
}

fn failed(fault: Fault, at: Stored<'_>) -> GetError {
    fault.failure(format!("getting {}", at.key)).into()
}

/// What a refusal of a put means.
fn put_error(fault: Fault, key: &str, epoch: u64, size: u64) -> PutError {
    let key = key.to_owned();
    let Fault::Said(said) = fault else {
        return fault
            .failure(format!("putting {size} bytes under {key}"))
            .into();
    };
    match said.code.as_str() {
        "QUOTA" | "OOM" => PutError::Full {
            key,
            size,
            reason: said.text,
        },
        "EPOCH" => PutError::Stale {
            key,
            epoch,
            reason: said.text,
        },
        "ERR" if said.text.starts_with("value is") => PutError::Invalid {
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
