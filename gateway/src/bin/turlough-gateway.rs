//! OpenFaaS's gateway of one machine, as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use turlough_gateway::{Settings, main_with};

/// OpenFaaS's gateway on one machine: functions are local processes, and faas-cli deploys them
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  turlough-gateway --stack stack.yaml\n  \
                  turlough-gateway --images images.yaml --folder /var/lib/turlough-gateway \
                  --basic-auth /etc/turlough-gateway\n  \
                  faas-cli login --password-stdin < /etc/turlough-gateway/basic-auth-password\n  \
                  faas-cli deploy -f stack.yaml\n\n\
                  What runs for an image says the file of images:\n  \
                  images:\n    example.org/echo: { process: cat, mode: fork }\n    \
                  example.org/orders: { process: python3 handler.py, directory: orders }\n\n\
                  docs/openfaas.md tells of the rest."
)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    main_with(Arguments::parse().settings)
}
