//! The keeper of a tenant, as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use turlough_keeper::{Settings, main_with};

/// Follows the logs of a tenant's requests: lists them, and sees to it that each gets a driver
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  turlough-keeper --state nats://127.0.0.1:4222 --tenant acme\n  \
                  TURLOUGH_STATE=nats://nats:4222 TURLOUGH_GATEWAY_URL=http://gateway:8080 \
                  TURLOUGH_KEEPER_INDEX=/var/lib/turlough/keeper.db turlough-keeper\n  \
                  curl http://127.0.0.1:7710/requests?status=failed\n\n\
                  With memory: and file: state the flow-function keeps its requests itself."
)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    main_with(Arguments::parse().settings)
}
