//! The store's process, over TCP, over a Unix socket and by TLS.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use turlough_datastore::StepCredential;
use turlough_datastore::data::{DataStore, DataUrl, Failure, GetError, Options, PutError, open};
use turlough_sdk::{RequestId, ValueRef};
use turlough_testing::free_port;

use crate::fault::IN_TIME;
use crate::server::{
    Certificate, ComesBackEmpty, GoesAway, HasLimit, IsOpen, LONG, Server, bytes, key, opened,
    options, request, stored, until,
};

/// A process with passwords for two tenants, started again where it was.
struct Process {
    folder: tempfile::TempDir,
    port: u16,
    lease: Duration,
    settings: Vec<(&'static str, String)>,
    running: Option<Child>,
}

pub(crate) struct OverTcp(Process);

pub(crate) struct OverSocket(Process);

pub(crate) struct OverTls {
    process: Process,
    certificate: Certificate,
}

impl Process {
    async fn start(lease: Duration, settings: &[(&'static str, &str)]) -> Self {
        Self::start_at(free_port(), lease, settings).await
    }

    async fn start_at(port: u16, lease: Duration, settings: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for tenant in ["acme", "other"] {
            let file = folder.path().join(format!("turlough-store-{tenant}"));
            fs::write(file, format!("{tenant} s@cret:%\n")).unwrap();
        }
        fs::write(folder.path().join("turlough-store-admin"), "admin").unwrap();
        let mut all = vec![("TURLOUGH_STORE_LEASE", format!("{}ms", lease.as_millis()))];
        all.extend(
            settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let mut process = Self {
            folder,
            port,
            lease,
            settings: all,
            running: None,
        };
        process.start_again().await;
        process
    }

    async fn start_again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_turlough-datastore"));
        command
            .env_clear()
            .env("TURLOUGH_LISTEN", "127.0.0.1")
            .env("TURLOUGH_STORE_PORT", self.port.to_string())
            .env("TURLOUGH_STORE_METRICS_PORT", "0")
            .env("TURLOUGH_STORE_SOCKET", self.socket())
            .env("TURLOUGH_STORE_BYTES_MAX", (1_u64 << 30).to_string())
            .env("TURLOUGH_SECRETS", self.folder.path())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::null());
        self.running = Some(command.spawn().unwrap());
        until("the store listens", async || {
            let wire = std::os::unix::net::UnixStream::connect(self.socket());
            wire.is_ok().then_some(())
        })
        .await;
    }

    /// SIGKILL: nothing of it is left but its socket.
    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, name: &str) {
        let id = self.running.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// SIGSTOP: each of its threads stops when it hears of it.
    async fn stand_still(&self) {
        self.signal("STOP");
        let id = self.running.as_ref().unwrap().id();
        until("the store stands still", async || {
            let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
            let stands = threads.flatten().all(|thread| {
                let stat = fs::read_to_string(thread.path().join("stat"));
                stat.is_ok_and(|stat| stat.contains(") T "))
            });
            stands.then_some(())
        })
        .await;
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("store.sock")
    }

    fn options(&self, tenant: &str) -> Options {
        Options {
            secrets: self.folder.path().to_owned(),
            ..options(tenant, self.lease)
        }
    }

    fn url(&self) -> String {
        format!("turlough://127.0.0.1:{}", self.port)
    }

    /// A connection of somebody, without what tests are about.
    async fn wire(&self, name: &str, password: &str) -> redis::aio::MultiplexedConnection {
        let url = format!("redis+unix://{}", self.socket().display());
        let client = redis::Client::open(url).unwrap();
        let mut wire = client.get_multiplexed_async_connection().await.unwrap();
        let mut auth = redis::cmd("AUTH");
        auth.arg(name).arg(password);
        auth.exec_async(&mut wire).await.unwrap();
        wire
    }

    async fn change(&self, at: &ValueRef) {
        let mut wire = self.wire("acme", "acme s@cret:%").await;
        let key = stored(at).key;
        let mut get = redis::cmd("GET");
        let mut value: Vec<u8> = get.arg(key).query_async(&mut wire).await.unwrap();
        value[0] ^= 1;
        let mut set = redis::cmd("SET");
        set.arg(key).arg(value);
        set.exec_async(&mut wire).await.unwrap();
    }

    async fn limit(&self) {
        let mut set = redis::cmd("TENANT.SET");
        set.arg(&["acme", "HARD", "1500000", "FLIGHT", "4000000"]);
        let mut wire = self.wire("admin", "admin").await;
        set.exec_async(&mut wire).await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[async_trait(?Send)]
impl Server for OverTcp {
    async fn start(lease: Duration) -> Self {
        Self(Process::start(lease, &[]).await)
    }

    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore> {
        opened(&self.0.url(), &self.0.options(tenant)).await
    }
}

#[async_trait(?Send)]
impl Server for OverSocket {
    async fn start(lease: Duration) -> Self {
        Self(Process::start(lease, &[]).await)
    }

    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore> {
        let url = format!("unix:{}", self.0.socket().display());
        opened(&url, &self.0.options(tenant)).await
    }
}

#[async_trait(?Send)]
impl Server for OverTls {
    async fn start(lease: Duration) -> Self {
        let certificate = Certificate::new();
        let (cert, key) = (certificate.path(), certificate.key_path());
        let settings = [
            ("TURLOUGH_STORE_TLS_CERT", cert.to_str().unwrap()),
            ("TURLOUGH_STORE_TLS_KEY", key.to_str().unwrap()),
        ];
        Self {
            process: Process::start(lease, &settings).await,
            certificate,
        }
    }

    async fn open_as(&self, tenant: &str) -> Arc<dyn DataStore> {
        let url = format!("turlough+tls://localhost:{}", self.process.port);
        let trusting = Options {
            authorities: Some(self.certificate.path()),
            ..self.process.options(tenant)
        };
        opened(&url, &trusting).await
    }
}

/// However it is reached, it is the same process.
trait HasProcess: Server {
    fn process(&self) -> &Process;
    fn process_mut(&mut self) -> &mut Process;
}

macro_rules! has_process {
    ($server:ty, $process:tt) => {
        impl HasProcess for $server {
            fn process(&self) -> &Process {
                &self.$process
            }

            fn process_mut(&mut self) -> &mut Process {
                &mut self.$process
            }
        }
    };
}

has_process!(OverTcp, 0);
has_process!(OverSocket, 0);
has_process!(OverTls, process);

#[async_trait(?Send)]
impl<S: HasProcess> GoesAway for S {
    async fn go(&mut self) {
        self.process_mut().kill();
    }

    async fn come_back(&mut self) {
        self.process_mut().start_again().await;
    }
}

impl<S: HasProcess> ComesBackEmpty for S {}

#[async_trait(?Send)]
impl<S: HasProcess> IsOpen for S {
    async fn change(&self, _: RequestId, at: &ValueRef) {
        self.process().change(at).await;
    }
}

#[async_trait(?Send)]
impl<S: HasProcess> HasLimit for S {
    async fn start_small() -> Self {
        Self::start(LONG).await
    }

    async fn limit(&self) {
        self.process().limit().await;
    }
}

async fn refused(url: &str, options: &Options) -> String {
    let url: DataUrl = url.parse().unwrap();
    match open(&url, options).await {
        Err(error @ Failure::Denied { .. }) => error.to_string(),
        opened => panic!("{opened:?}"),
    }
}

#[tokio::test]
async fn a_tenant_is_who_its_password_says() {
    let process = Process::start(LONG, &[]).await;
    let port = process.port;
    let nobody = options("acme", LONG);
    let one = request();
    let said = format!("turlough://acme:acme%20s%40cret%3A%25@127.0.0.1:{port}");
    let store = opened(&said, &nobody).await;
    store
        .put(one, 1, &key(one, "a"), bytes(1, 1))
        .await
        .unwrap();
    assert_eq!(store.address(), format!("127.0.0.1:{port}"));
    for (url, options) in [
        (said.replace("s%40cret", "wrong"), &nobody),
        (process.url(), &nobody),
        (process.url(), &process.options("nobody")),
    ] {
        let text = refused(&url, options).await;
        assert!(!text.contains("wrong") && !text.contains("cret"), "{text}");
    }
}

#[tokio::test]
async fn a_password_that_is_changed_counts_for_the_next_connection() {
    let mut process = Process::start(LONG, &[]).await;
    let store = opened(&process.url(), &process.options("acme")).await;
    process.kill();
    fs::write(process.folder.path().join("turlough-store-acme"), "new").unwrap();
    process.start_again().await;
    let one = request();
    store
        .put(one, 1, &key(one, "a"), bytes(1, 1))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_another_boot_holds_is_not_what_was_put_before() {
    let mut server = OverTcp::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let key = key(one, "a");
    let before = store.put(one, 1, &key, bytes(1, 1)).await.unwrap();
    server.go().await;
    server.come_back().await;
    let after = store.put(one, 1, &key, bytes(1, 1)).await.unwrap();
    assert_ne!(stored(&before).boot, stored(&after).boot);
    assert!(store.get(one, stored(&after)).await.is_ok());
    let found = store.get(one, stored(&before)).await;
    assert!(matches!(found, Err(GetError::Lost { .. })), "{found:?}");
}

#[tokio::test]
async fn a_value_of_another_store_is_read_by_way_of_ones_own_and_so_is_its_copy() {
    let ports = [free_port(), free_port()];
    let known = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let near = Process::start(LONG, &[("TURLOUGH_STORE_PEERS", &known)]).await;
    let place = format!("127.0.0.1:{}", near.port);
    let copying = [
        ("TURLOUGH_STORE_PEERS", place.as_str()),
        ("TURLOUGH_STORE_BACKUP", "sync"),
    ];
    for (port, settings, is_kept) in [(ports[0], &[][..], false), (ports[1], &copying[..], true)] {
        let mut far = Process::start_at(port, LONG, settings).await;
        let there = opened(&far.url(), &far.options("acme")).await;
        let here = opened(&near.url(), &near.options("acme")).await;
        let (one, value) = (request(), bytes(1, 100_000));
        let at = there
            .put(one, 1, &key(one, "a"), value.clone())
            .await
            .unwrap();
        assert_eq!(stored(&at).store, there.address());
        assert!(here.get(one, stored(&at)).await.unwrap() == value);
        let other = opened(&near.url(), &near.options("other")).await;
        let found = other.get(one, stored(&at)).await;
        assert!(matches!(found, Err(GetError::Lost { .. })), "{found:?}");
        far.kill();
        let mut found = here.get(one, stored(&at)).await;
        match is_kept {
            true => assert!(found.unwrap() == value),
            false => {
                // It might come back.
                assert!(matches!(found, Err(GetError::Failed(_))), "{found:?}");
                until("it is given up", async || {
                    found = here.get(one, stored(&at)).await;
                    matches!(found, Err(GetError::Lost { .. })).then_some(())
                })
                .await;
            }
        }
        // Who comes back without it says the same.
        far.start_again().await;
        let found = there.get(one, stored(&at)).await;
        match is_kept {
            true => assert!(found.unwrap() == value),
            false => assert!(matches!(found, Err(GetError::Lost { .. })), "{found:?}"),
        }
    }
}

#[tokio::test]
async fn a_store_that_stands_still_is_told_of_in_time_and_used_again() {
    let process = Process::start(LONG, &[]).await;
    let store = opened(&process.url(), &process.options("acme")).await;
    let one = request();
    process.stand_still().await;
    let began = std::time::Instant::now();
    let put = store.put(one, 1, &key(one, "a"), bytes(1, 1)).await;
    process.signal("CONT");
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    let error = put.unwrap_err();
    assert!(error.passes(), "{error}");
    store
        .put(one, 1, &key(one, "a"), bytes(1, 1))
        .await
        .unwrap();
}

#[tokio::test]
async fn while_another_store_says_nothing_ones_own_answers() {
    let port = free_port();
    let place = format!("127.0.0.1:{port}");
    let near = Process::start(LONG, &[("TURLOUGH_STORE_PEERS", &place)]).await;
    let far = Process::start_at(port, LONG, &[]).await;
    let there = opened(&far.url(), &far.options("acme")).await;
    let here = opened(&near.url(), &near.options("acme")).await;
    let one = request();
    let put = there.put(one, 1, &key(one, "a"), bytes(1, 1)).await;
    let at = put.unwrap();
    // They have spoken to one another before.
    here.lease_at(&place, one, 1, LONG).await.unwrap();
    far.stand_still().await;
    let (asks, at_place) = (Arc::clone(&here), place.clone());
    let asked = tokio::spawn(async move { asks.lease_at(&at_place, one, 1, LONG).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let put = here.put(one, 1, &key(one, "b"), bytes(1, 1)).await;
    assert!(put.is_ok() && !asked.is_finished(), "{put:?} {asked:?}");
    assert!(asked.await.unwrap().is_err());
    // It is known by now.
    let error = here.lease_at(&place, one, 1, LONG).await.unwrap_err();
    let says = format!("store {place} does not answer: it did not answer a while ago");
    assert!(error.to_string().ends_with(&says), "{error}");
    let found = here.get(one, stored(&at)).await;
    assert!(matches!(found, Err(GetError::Lost { .. })), "{found:?}");
    far.signal("CONT");
    until("the other store is asked again", async || {
        here.get(one, stored(&at)).await.ok().map(drop)
    })
    .await;
}

#[tokio::test]
async fn what_is_large_of_a_store_that_says_nothing_is_lost_in_time() {
    let port = free_port();
    let place = format!("127.0.0.1:{port}");
    let near = Process::start(LONG, &[("TURLOUGH_STORE_PEERS", &place)]).await;
    let far = Process::start_at(port, LONG, &[]).await;
    let there = opened(&far.url(), &far.options("acme")).await;
    let here = opened(&near.url(), &near.options("acme")).await;
    let (one, value) = (request(), bytes(1, 300_000));
    let put = there.put(one, 1, &key(one, "a"), value.clone()).await;
    let at = put.unwrap();
    assert!(here.get(one, stored(&at)).await.unwrap() == value);
    far.stand_still().await;
    until("it is lost", async || {
        let found = here.get(one, stored(&at)).await;
        matches!(found, Err(GetError::Lost { .. })).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_never_fits_is_told_so_and_is_not_sent_again() {
    let server = OverTcp::start_small().await;
    server.limit().await;
    let (store, one) = (server.open().await, request());
    let put = store.put(one, 1, &key(one, "a"), bytes(1, 2_000_000)).await;
    assert!(matches!(put, Err(PutError::Invalid { .. })), "{put:?}");
}

#[tokio::test]
async fn how_a_value_begins_and_whether_it_is_there_is_told_without_reading_it() {
    let server = OverTcp::start(LONG).await;
    let (store, one) = (server.open().await, request());
    let value = bytes(1, 100_000);
    let put = store.put(one, 1, &key(one, "a"), value.clone()).await;
    let at = put.unwrap();
    assert_eq!(store.head(one, stored(&at), 10).await.unwrap(), value[..10]);
    assert!(store.head(one, stored(&at), 200_000).await.unwrap() == value);
    assert!(store.check(one, stored(&at)).await.is_ok());
    store.drop_bucket(one, 1).await.unwrap();
    for found in [
        store.check(one, stored(&at)).await,
        store.head(one, stored(&at), 10).await.map(drop),
    ] {
        assert!(matches!(found, Err(GetError::Lost { .. })), "{found:?}");
    }
}

#[tokio::test]
async fn nothing_is_lent_by_a_password_that_could_be_guessed_from_it() {
    let process = Process::start(LONG, &[]).await;
    let store = opened(&process.url(), &process.options("acme")).await;
    let step = StepCredential {
        until_unix_ms: u64::MAX,
        read: Vec::new(),
        write: Some("{r}a".to_owned()),
        epoch: 1,
    };
    let error = store.lend(&step).await.unwrap_err().to_string();
    assert!(error.contains("is 13 bytes, at least 16"), "{error}");
    let file = process.folder.path().join("turlough-store-acme");
    fs::write(file, "a-password-of-acme").unwrap();
    let lent = store.lend(&step).await.unwrap().unwrap();
    assert!(lent.starts_with("acme step1."), "{lent}");
}

#[tokio::test]
async fn a_store_whose_buckets_go_too_early_is_refused() {
    let process = Process::start(Duration::from_secs(60), &[]).await;
    let longer = Options {
        lease: Duration::from_secs(61),
        ..process.options("acme")
    };
    let url = process.url().parse().unwrap();
    let error = open(&url, &longer).await.unwrap_err().to_string();
    assert!(
        error.contains("go after 60s") && error.contains("raise TURLOUGH_STORE_LEASE"),
        "{error}"
    );
    assert!(open(&url, &process.options("acme")).await.is_ok());
}

#[tokio::test]
async fn what_is_no_store_is_refused_by_name() {
    let redis = turlough_testing::Redis::start().await;
    let socket = redis.url().replace("redis+unix://", "unix:");
    let text = refused(&socket, &options("acme", LONG)).await;
    assert!(text.contains("no turlough-datastore"), "{text}");
}

#[tokio::test]
async fn a_store_behind_tls_is_used_by_who_trusts_it() {
    let server = OverTls::start(LONG).await;
    let store = server.open().await;
    let one = request();
    let value = bytes(1, 1_000_000);
    let at = store
        .put(one, 1, &key(one, "a"), value.clone())
        .await
        .unwrap();
    let read = store.get(one, stored(&at)).await.unwrap();
    assert!(read == value);
    let process = &server.process;
    let url: DataUrl = format!("turlough+tls://localhost:{}", process.port)
        .parse()
        .unwrap();
    let strange = open(&url, &process.options("acme")).await;
    assert!(strange.is_err(), "nobody vouches for it");
}
