//! The whole flow, over HTTP: a real gateway, the Python function as a real process, real files.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod handler;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value as Json, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use turlough_datastore::{Backup, Config, DataUrl, Server as Store, Settings as StoreSettings};
use turlough_example_flights::flow::flow;
use turlough_flow_function::{Engine, Server, Settings};
use turlough_gateway::{FunctionName, FunctionSpec, Gateway, GatewayConfig};

/// Each table of the report, in an order of its own.
const TABLES: [&str; 5] = [
    "carrier_delay",
    "month_delay",
    "route",
    "weather_delay",
    "rejected",
];

struct Pipeline {
    url: String,
    http: reqwest::Client,
    engine: Engine,
    folder: tempfile::TempDir,
    _handler: handler::Handler,
    _stop: DropGuard,
}

impl Pipeline {
    async fn start() -> Self {
        Self::start_on(DataUrl::Memory).await
    }

    /// The same, with its data somewhere.
    async fn start_on(data: DataUrl) -> Self {
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let config = GatewayConfig {
            listen: free,
            metrics_listen: free,
            ..GatewayConfig::default()
        };
        let gateway = Gateway::bind(config).await.unwrap();
        let handler = handler::Handler::start();
        let spec = |name| FunctionSpec::new(FunctionName::parse(name).unwrap());
        gateway
            .registry()
            .add_static(spec("clean-weather"), &handler.address())
            .unwrap();

        let mut settings = Settings::from_environment();
        settings.gateway_url = gateway.url();
        settings.listen = Ipv4Addr::LOCALHOST.into();
        settings.port = 0;
        settings.data = data;
        let server = Server::bind(settings, vec![flow().unwrap()]).await.unwrap();
        let address = format!("http://{}", server.local_addr().unwrap());
        gateway
            .registry()
            .add_static(spec("flights"), &address)
            .unwrap();
        let url = format!("{}/function/flights", gateway.url());

        let stop = CancellationToken::new();
        let engine = server.engine().clone();
        tokio::spawn(server.run(stop.clone()));
        tokio::spawn(gateway.run(stop.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self {
            url,
            http,
            engine,
            folder,
            _handler: handler,
            _stop: stop.drop_guard(),
        }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("report.sqlite")
    }

    /// A copy of the data set, to be damaged.
    fn data(&self) -> PathBuf {
        let data = self.folder.path().join("data");
        fs::create_dir(&data).unwrap();
        for entry in fs::read_dir(data_set()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
        }
        data
    }

    async fn run(&self, data: &Path, out: &Path) -> (u16, Json) {
        let job = json!({ "data": data, "out": out, "rejected_max": 3 });
        let answer = self.http.post(&self.url).json(&job).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Runs on damaged data: the failure's text, which names the file, and no report anywhere.
    async fn failure(&self, data: &Path) -> String {
        let (status, problem) = self.run(data, &self.out()).await;
        assert_eq!(status, 500, "{problem}");
        assert!(!self.out().exists(), "half a report was left");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

fn data_set() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

fn open(file: &Path) -> Connection {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn rows(database: &Connection, table: &str) -> Vec<String> {
    let mut statement = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let cell = |at| format!("{:?}", row.get::<_, Cell>(at).unwrap());
        Ok((0..columns).map(cell).collect::<Vec<_>>().join("|"))
    };
    let mut rows: Vec<_> = statement
        .query_map([], row)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
#[ignore = "needs the data set: run etl-examples/flights/fetch.py first"]
async fn a_second_run_changes_nothing_but_the_run_table_and_the_store_is_empty() {
    let pipeline = Pipeline::start().await;
    let out = pipeline.out();
    let (status, summary) = pipeline.run(&data_set(), &out).await;
    assert_eq!(status, 200, "{summary}");
    assert_eq!(
        (summary["flights"].as_u64(), summary["cancelled"].as_u64()),
        (Some(336_776), Some(8_255))
    );
    assert_eq!(
        (
            summary["carriers"].as_u64(),
            summary["dest_unnamed"].as_u64()
        ),
        (Some(16), Some(7_602))
    );
    assert_eq!(summary["with_weather"], 335_220);
    assert_eq!(
        format!("{:.4}", summary["mean_dep_delay"].as_f64().unwrap()),
        "12.6391"
    );
    let before: Vec<_> = TABLES
        .iter()
        .map(|table| rows(&open(&out), table))
        .collect();
    assert_eq!(
        before.iter().map(Vec::len).collect::<Vec<_>>()[..3],
        [16, 12, 224]
    );

    pipeline.run(&data_set(), &out).await;
    let after: Vec<_> = TABLES
        .iter()
        .map(|table| rows(&open(&out), table))
        .collect();
    assert_eq!(before, after);
    assert_eq!(rows(&open(&out), "run").len(), 2);
    // The answer overtakes the drop, so the drop is waited for.
    for _ in 0..1_000 {
        if pipeline.engine.store_bytes() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!(
        "the store still holds {} bytes",
        pipeline.engine.store_bytes()
    );
}

#[tokio::test]
#[ignore = "needs the data set: run etl-examples/flights/fetch.py first"]
async fn damaged_files_fail_by_file_and_line_and_leave_no_report() {
    let pipeline = Pipeline::start().await;
    let data = pipeline.data();
    let file = data.join("weather.csv");
    let whole = fs::read(&file).unwrap();

    fs::write(&file, &whole[..whole.len() / 2 + 7]).unwrap();
    let text = pipeline.failure(&data).await;
    assert!(
        text.starts_with("step extract-weather: ") && text.contains("weather.csv"),
        "{text}"
    );
    assert!(text.contains("line 13"), "{text}");

    fs::write(&file, [&[0x1f, 0x8b, 0x08, 0xff][..], &whole].concat()).unwrap();
    let text = pipeline.failure(&data).await;
    assert!(
        text.contains("weather.csv") && text.contains("line 1"),
        "{text}"
    );

    let header = String::from_utf8(whole.clone())
        .unwrap()
        .replacen("humid", "humidity", 1);
    fs::write(&file, header).unwrap();
    let text = pipeline.failure(&data).await;
    assert!(
        text.contains("weather.csv") && text.contains("header"),
        "{text}"
    );

    fs::remove_file(&file).unwrap();
    let text = pipeline.failure(&data).await;
    assert!(text.contains("weather.csv"), "{text}");
}

#[tokio::test]
#[ignore = "needs the data set: run etl-examples/flights/fetch.py first"]
async fn bad_rows_are_reported_up_to_the_threshold_of_the_request_and_past_it_the_run_ends() {
    let pipeline = Pipeline::start().await;
    let data = pipeline.data();
    let file = data.join("planes.csv");
    let mut text = fs::read_to_string(&file).unwrap();
    for number in 0..3 {
        text.push_str(&format!(
            "BAD{number},MMIV,Fixed wing multi engine,EMBRAER,EMB-145XR,2,55,NA,Turbo-fan\n"
        ));
    }
    fs::write(&file, &text).unwrap();
    let (status, summary) = pipeline.run(&data, &pipeline.out()).await;
    assert_eq!(
        (status, summary["rejected"].as_u64()),
        (200, Some(3)),
        "{summary}"
    );
    let rejected = rows(&open(&pipeline.out()), "rejected");
    assert!(
        rejected[0].contains("planes.csv") && rejected[0].contains("3324"),
        "{rejected:?}"
    );

    fs::remove_file(pipeline.out()).unwrap();
    text.push_str("BAD3,MMIV,Fixed wing multi engine,EMBRAER,EMB-145XR,2,55,NA,Turbo-fan\n");
    fs::write(&file, &text).unwrap();
    let text = pipeline.failure(&data).await;
    assert!(
        text.contains("planes.csv") && text.contains('4') && text.contains('3'),
        "{text}"
    );
}

#[tokio::test]
#[ignore = "needs the data set: run etl-examples/flights/fetch.py first"]
async fn a_sink_that_cannot_be_written_is_named() {
    let pipeline = Pipeline::start().await;
    let file = pipeline.folder.path().join("a-file");
    fs::write(&file, "not a folder").unwrap();
    let (status, problem) = pipeline.run(&data_set(), &file.join("report.sqlite")).await;
    assert_eq!(
        (status, problem["step"].as_str()),
        (500, Some("load")),
        "{problem}"
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("a-file"),
        "{problem}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a folder");
}

/// A store on a socket, until the guard is dropped.
async fn store(socket: &Path) -> DropGuard {
    let settings = StoreSettings::from_environment();
    let store = Store::bind(Config {
        bounds: settings.bounds(),
        spill: None,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        address: None,
        socket: Some(socket.to_owned()),
        secrets: "/nowhere".into(),
        peers: None,
        peers_root: None,
        backup: Backup::None,
        tls: None,
        value_bytes_max: settings.value_bytes_max,
        connections_max: 100,
        buffers_bytes_max: settings.buffers_bytes_max,
        stalled: settings.stalled,
        workers: 1,
    });
    let (store, stop) = (store.await.unwrap(), CancellationToken::new());
    tokio::spawn(store.run(stop.clone()));
    stop.drop_guard()
}

#[tokio::test]
#[ignore = "needs the data set: run etl-examples/flights/fetch.py first"]
async fn the_report_is_the_same_wherever_the_data_of_its_steps_lies() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("store.sock");
    let _store = store(&socket).await;
    let redis = turlough_testing::Redis::start().await;
    let mut reports = Vec::new();
    for data in [
        DataUrl::Memory,
        DataUrl::Socket(socket),
        redis.url().parse().unwrap(),
        DataUrl::Folder(folder.path().join("data")),
    ] {
        let pipeline = Pipeline::start_on(data.clone()).await;
        let (status, summary) = pipeline.run(&data_set(), &pipeline.out()).await;
        assert_eq!(status, 200, "{data}: {summary}");
        let database = open(&pipeline.out());
        let report = TABLES.map(|table| rows(&database, table));
        assert!(report[..4].iter().all(|rows| !rows.is_empty()), "{data}");
        reports.push((data, report));
    }
    let (_, expect) = &reports[0];
    for (data, report) in &reports {
        assert!(report == expect, "{data} gives another report");
    }
}
