//! The store of a host, as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use turlough_datastore::{Settings, main_with};

/// Holds requests' values in memory, for any Redis client: each request's in a bucket that goes at once
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  turlough-datastore --listen 127.0.0.1\n  \
                  turlough-datastore --socket /run/turlough/store.sock --bytes-max 4294967296\n  \
                  redis-cli -p 7700 SET '{request}step' value EX 60\n  \
                  redis-cli -p 7700 BUCKET.DROP request 1\n  \
                  redis-cli -p 7700 --user admin --pass SECRET TENANT.SET acme HARD 1073741824\n  \
                  curl http://127.0.0.1:7701/metrics\n\n\
                  docs/datastore.md tells of the commands that Redis has not."
)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    main_with(Arguments::parse().settings)
}
