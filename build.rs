//! Migrations and the dashboard are compiled in: a change of either must be noticed.
//!
//! Without a built dashboard its directory is made, empty, so that the program compiles all the same.

use std::path::Path;

const DASHBOARD: &str = "dashboard/dist";

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed={DASHBOARD}");
    if !Path::new(DASHBOARD).exists()
        && let Err(error) = std::fs::create_dir_all(DASHBOARD)
    {
        println!("cargo:warning={DASHBOARD} is not there and cannot be made: {error}");
    }
}
