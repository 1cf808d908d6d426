//! The flights pipeline as a flow-function: a process that listens where its gateway says.

use std::process::ExitCode;

fn main() -> ExitCode {
    turlough_flow_function::serve(turlough_example_flights::flow::flow())
}
