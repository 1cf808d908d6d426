//! The backend in Redis: a server of its own for each test.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use turlough_datastore::data::{DataStore, DataUrl, Failure, Options, PutError, open};
use turlough_sdk::{RequestId, ValueRef};

use crate::server::{
    Certificate, ComesBackEmpty, GoesAway, HasLimit, IsOpen, LONG, Server, bytes, key, opened,
    options, request, stored,
};

pub(crate) struct Redis {
    server: turlough_testing::Redis,
    lease: Duration,
}

impl Redis {
    async fn wire(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.server.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    async fn set(&self, name: &str, value: &str) {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg(name).arg(value);
        set.exec_async(&mut self.wire().await).await.unwrap();
    }
}

/// The same server, which is also behind TLS.
pub(crate) struct OverTls {
    redis: Redis,
    port: u16,
    certificate: Certificate,
}

impl OverTls {
    /// Has it listen, which it forgets with its process.
    async fn listen(&self) {
        let [cert, key] = [self.certificate.path(), self.certificate.key_path()];
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("tls-auth-clients").arg("no");
        set.arg("tls-cert-file").arg(cert.to_str().unwrap());
        set.arg("tls-key-file").arg(key.to_str().unwrap());
        set.arg("tls-ca-cert-file").arg(cert.to_str().unwrap());
        set.arg("tls-port").arg(self.port);
        set.exec_async(&mut self.redis.wire().await).await.unwrap();
    }
}

#[async_trait(?Send)]
impl Server for OverTls {
    async fn start(lease: Duration) -> Self {
        let this = Self {
            redis: Redis::start(lease).await,
            port: turlough_testing::free_port(),
            certificate: Certificate::new(),
        };
        this.listen().await;
        this
    }

    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore> {
        let trusting = Options {
            authorities: Some(self.certificate.path()),
            ..options(tenant, self.redis.lease)
        };
        opened(&format!("rediss://localhost:{}", self.port), &trusting).await
    }
}

#[async_trait(?Send)]
impl GoesAway for OverTls {
    async fn go(&mut self) {
        self.redis.go().await;
    }

    async fn come_back(&mut self) {
        self.redis.come_back().await;
        self.listen().await;
    }
}

#[async_trait(?Send)]
impl ComesBackEmpty for OverTls {
    async fn come_back_empty(&mut self) {
        self.redis.come_back_empty().await;
        self.listen().await;
    }
}

#[async_trait(?Send)]
impl IsOpen for OverTls {
    async fn change(&self, request: RequestId, at: &ValueRef) {
        self.redis.change(request, at).await;
    }
}

#[async_trait(?Send)]
impl HasLimit for OverTls {
    async fn start_small() -> Self {
        Self::start(LONG).await
    }

    async fn limit(&self) {
        self.redis.limit().await;
    }
}

#[async_trait(?Send)]
impl ComesBackEmpty for Redis {
    async fn come_back_empty(&mut self) {
        fs::remove_dir_all(self.server.data()).unwrap();
        fs::create_dir(self.server.data()).unwrap();
        self.server.start_again().await;
    }
}

#[async_trait(?Send)]
impl Server for Redis {
    async fn start(lease: Duration) -> Self {
        Self {
            server: turlough_testing::Redis::start().await,
            lease,
        }
    }

    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore> {
        opened(&self.server.url(), &options(tenant, self.lease)).await
    }
}

#[async_trait(?Send)]
impl GoesAway for Redis {
    async fn go(&mut self) {
        self.server.kill();
    }

    async fn come_back(&mut self) {
        self.server.start_again().await;
    }
}

/// Changes a value's first byte, as its bucket has it.
pub(crate) async fn change(
    wire: &mut impl redis::aio::ConnectionLike,
    request: RequestId,
    at: &ValueRef,
) {
    let bucket = format!("{{acme/{request}}}");
    let name = stored(at).key.split_once('}').unwrap().1;
    let mut get = redis::cmd("HGET");
    get.arg(&bucket).arg(name);
    let mut value: Vec<u8> = get.query_async(wire).await.unwrap();
    value[0] ^= 1;
    let mut set = redis::cmd("HSET");
    set.arg(&bucket).arg(name).arg(value);
    set.exec_async(wire).await.unwrap();
}

#[async_trait(?Send)]
impl IsOpen for Redis {
    async fn change(&self, request: RequestId, at: &ValueRef) {
        change(&mut self.wire().await, request, at).await;
    }
}

#[async_trait(?Send)]
impl HasLimit for Redis {
    async fn start_small() -> Self {
        Self::start(LONG).await
    }

    async fn limit(&self) {
        limit(&mut self.wire().await, 500_000).await;
    }
}

/// Leaves a server room for so many bytes. What is being put counts several times before it is there.
pub(crate) async fn limit(wire: &mut impl redis::aio::ConnectionLike, room: u64) {
    let mut info = redis::cmd("INFO");
    let text: String = info.arg("memory").query_async(wire).await.unwrap();
    let mut lines = text.lines();
    let used = lines.find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used.unwrap().trim().parse().unwrap();
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("maxmemory-policy").arg("noeviction");
    set.arg("maxmemory").arg(used + room);
    set.exec_async(wire).await.unwrap();
}

#[tokio::test]
async fn values_survive_a_redis_that_keeps_its_data() {
    let mut server = Redis::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let at = store.put(one, 3, &key(one, "a"), bytes(1, 1_000)).await;
    let at = at.unwrap();
    server.go().await;
    server.come_back().await;
    assert!(store.get(one, stored(&at)).await.unwrap() == bytes(1, 1_000));
    let late = store.put(one, 2, &key(one, "b"), bytes(1, 1)).await;
    assert!(late.is_err(), "it knows the epoch");
}

#[tokio::test]
async fn where_there_is_no_memory_buckets_are_dropped_and_leased_and_nothing_is_put_by_halves() {
    let server = Redis::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let at = store.put(one, 1, &key(one, "a"), bytes(1, 1_000)).await;
    let at = at.unwrap();
    server.set("maxmemory", "1").await;
    for _ in 0..2 {
        let put = store.put(one, 9, &key(one, "b"), bytes(1, 1_000)).await;
        assert!(matches!(put, Err(PutError::Full { .. })), "{put:?}");
    }
    assert!(store.lease(one, 2, LONG).await.unwrap(), "it is not at 9");
    assert!(store.get(one, stored(&at)).await.is_ok());
    assert_eq!(store.drop_bucket(one, 3).await.unwrap().keys, 1);
    server.set("maxmemory", "0").await;
    let put = store.put(one, 3, &key(one, "b"), bytes(1, 1_000)).await;
    assert!(matches!(put, Err(PutError::Stale { .. })), "{put:?}");
    let put = store.put(one, 4, &key(one, "b"), bytes(1, 1_000)).await;
    assert!(put.is_ok(), "{put:?}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let server = Redis::start(LONG).await;
    server.set("requirepass", "right").await;
    let url: DataUrl = format!("{}?pass=wrong-one", server.server.url())
        .parse()
        .unwrap();
    let error = open(&url, &options("acme", LONG)).await.unwrap_err();
    assert!(matches!(error, Failure::Denied { .. }), "{error}");
    assert!(!error.to_string().contains("wrong-one"), "{error}");
}
