//! Times the pipeline's functions without a platform around them: what a flow can at best reach.
//!
//! Values travel between the stages as MessagePack, as they do in a flow; flights are read beside
//! the weather and its Python function; months are transformed two at a time. Run it from the
//! root of the repository, after `fetch.py`:
//! `cargo run --release -p turlough-example-flights --example bare [DATA [OUT]]`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement for the terminal"
)]

#[path = "../tests/handler/mod.rs"]
mod handler;

use std::io::BufReader;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use turlough_example_flights::flights::{FlightMonth, extract_flights};
use turlough_example_flights::job::Job;
use turlough_example_flights::load::{LoadSummary, load};
use turlough_example_flights::lookups::{CleanWeather, Lookups, lookups};
use turlough_example_flights::month::{MonthSums, transform_month};
use turlough_example_flights::reference::{
    Airlines, Airports, Planes, extract_airlines, extract_airports, extract_planes,
};
use turlough_example_flights::rejected::Checked;
use turlough_example_flights::report::{Report, aggregate};
use turlough_example_flights::weather::{WeatherTable, extract_weather};

const RUNS: usize = 5;
const WORKERS: usize = 2;

/// Stages of a run with what each took and made.
#[derive(Default)]
struct Stages(Mutex<Vec<(&'static str, Duration, usize)>>);

impl Stages {
    /// Runs a stage; `bytes` is the size of what it made.
    fn time<T>(
        &self,
        stage: &'static str,
        run: impl FnOnce() -> T,
        bytes: impl FnOnce(&T) -> usize,
    ) -> T {
        let start = Instant::now();
        let made = run();
        let took = start.elapsed();
        let bytes = bytes(&made);
        let mut stages = self.0.lock().unwrap();
        match stages.iter_mut().find(|(name, ..)| *name == stage) {
            Some((_, sum, total)) => {
                *sum += took;
                *total += bytes;
            }
            None => stages.push((stage, took, bytes)),
        }
        made
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut job = Job::default();
    job.data = here.join(job.data);
    job.out = here.join(job.out);
    job.data = arguments.next().map_or(job.data, Into::into);
    job.out = arguments.next().map_or(job.out, Into::into);
    let handler = handler::Handler::start();
    let mut connection = handler.connect();

    let mut totals = Vec::new();
    for number in 0..RUNS {
        let stages = Stages::default();
        let start = Instant::now();
        let id = format!("bare-{}-{number}", std::process::id());
        let summary = run(&job, &id, &mut connection, &stages);
        totals.push(start.elapsed());
        if number + 1 == RUNS {
            for (stage, took, bytes) in stages.0.into_inner().unwrap() {
                println!(
                    "{stage:<36} {:>9.2} ms {bytes:>9} bytes",
                    milliseconds(took)
                );
            }
            println!("{summary:?}");
        }
    }
    totals.sort();
    println!(
        "all of it, median of {RUNS}: {:.1} ms",
        milliseconds(totals[RUNS / 2])
    );
    println!(
        "all runs: {:?}",
        totals
            .iter()
            .map(|total| milliseconds(*total))
            .collect::<Vec<_>>()
    );
    for (name, id) in [
        ("this process", std::process::id()),
        ("clean-weather", handler.id()),
    ] {
        println!("{name}: {}", peak(id));
    }
    packed_columns_against_plain_vectors(&job);
}

fn run(job: &Job, id: &str, connection: &mut BufReader<TcpStream>, stages: &Stages) -> LoadSummary {
    let (months, (lookups, tables)) = thread::scope(|scope| {
        let beside = scope.spawn(|| small_tables(job, connection, stages));
        let months = stages.time("extract flights", || extract_flights(job).unwrap(), |_| 0);
        let months = stages.time(
            "encode 12 months",
            || months.iter().map(encode).collect::<Vec<_>>(),
            |months| months.iter().map(Vec::len).sum(),
        );
        (months, beside.join().unwrap())
    });
    let sums = stages.time(
        "transform 12 months, wall",
        || transform(&months, &lookups, stages),
        |sums| sums.iter().map(Vec::len).sum(),
    );
    let report = stages.time(
        "aggregate with decode and encode",
        || {
            let months = sums
                .iter()
                .map(|month| decode::<MonthSums>(month))
                .collect();
            let tables: Vec<Checked> = decode(&tables);
            encode(&aggregate(job, months, tables).unwrap())
        },
        Vec::len,
    );
    stages.time(
        "load with decode",
        || load(job, id, &decode::<Report>(&report)).unwrap(),
        |_| 0,
    )
}

/// The four small files and the Python function, on a thread beside the flights.
fn small_tables(
    job: &Job,
    connection: &mut BufReader<TcpStream>,
    stages: &Stages,
) -> (Vec<u8>, Vec<u8>) {
    let weather = stages.time(
        "extract weather",
        || encode(&extract_weather(job).unwrap()),
        Vec::len,
    );
    let airlines = encode(&extract_airlines(job).unwrap());
    let airports = encode(&extract_airports(job).unwrap());
    let planes = stages.time(
        "extract planes",
        || encode(&extract_planes(job).unwrap()),
        Vec::len,
    );
    let request = stages.time(
        "weather to JSON",
        || serde_json::to_vec(&decode::<WeatherTable>(&weather)).unwrap(),
        Vec::len,
    );
    let answer = stages.time(
        "clean-weather over HTTP",
        || handler::post(connection, &request),
        |a| a.1.len(),
    );
    assert_eq!(answer.0, 200);
    let clean = stages.time(
        "answer to MessagePack",
        || encode(&serde_json::from_slice::<CleanWeather>(&answer.1).unwrap()),
        Vec::len,
    );
    let (airlines, airports) = (decode::<Airlines>(&airlines), decode::<Airports>(&airports));
    let lookups = stages.time(
        "lookups with decode and encode",
        || encode(&lookups(&decode::<CleanWeather>(&clean), &airlines, &airports).unwrap()),
        Vec::len,
    );
    let planes: Planes = decode(&planes);
    let weather: WeatherTable = decode(&weather);
    (
        lookups,
        encode(&vec![
            weather.checked,
            airlines.checked,
            airports.checked,
            planes.checked,
        ]),
    )
}

fn transform(months: &[Vec<u8>], lookups: &[u8], stages: &Stages) -> Vec<Vec<u8>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(month) = months.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (month, lookups) = stages.time(
                        "  decode month and lookups, all",
                        || (decode::<FlightMonth>(month), decode::<Lookups>(lookups)),
                        |_| 0,
                    );
                    let sums = stages.time(
                        "  join and sum with encode, all",
                        || encode(&transform_month(month, &lookups)),
                        Vec::len,
                    );
                    done.lock().unwrap().push(sums);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

/// The same column both ways: why months travel as packed columns.
fn packed_columns_against_plain_vectors(job: &Job) {
    let months = extract_flights(job).unwrap();
    let plain: Vec<Vec<Option<i16>>> = months
        .iter()
        .map(|month| month.dep_delay.iter().collect())
        .collect();
    let packed: Vec<_> = months.into_iter().map(|month| month.dep_delay).collect();
    round_trip("packed column", &packed);
    round_trip("Vec<Option<i16>>", &plain);
}

fn round_trip<T: Serialize + DeserializeOwned>(name: &str, value: &T) {
    let start = Instant::now();
    let bytes = encode(value);
    let encoded = start.elapsed();
    let start = Instant::now();
    let back: T = decode(&bytes);
    let decoded = start.elapsed();
    drop(back);
    println!(
        "dep_delay of all months as {name}: {} bytes, encode {:.2} ms, decode {:.2} ms",
        bytes.len(),
        milliseconds(encoded),
        milliseconds(decoded)
    );
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> T {
    rmp_serde::from_slice(bytes).unwrap()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Peak of the resident memory as the kernel keeps it.
fn peak(id: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.map_or_else(
        || "no peak on this system".to_owned(),
        |line| line.replace(['\t', ' '], ""),
    )
}
