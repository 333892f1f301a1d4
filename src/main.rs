//! The command line; see `sensorhive --help`.

fn main() -> std::process::ExitCode {
    sensorhive::cli::main().into()
}
