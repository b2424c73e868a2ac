//! Compiles the XDP program with clang.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

const SOURCE: &str = "src/xsk/steer.bpf.c";
const HEADERS: &str = "src/xsk/steer";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed={HEADERS}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let Some(out) = std::env::var_os("OUT_DIR") else {
        println!("cargo::error=OUT_DIR is not set: run this through cargo");
        return ExitCode::FAILURE;
    };
    let object = PathBuf::from(out).join("steer.bpf.o");
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    // The kernel's headers for user space lie in a directory of their own per architecture on Debian.
    let include = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let compiled = Command::new(&clang)
        .args([
            "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", "-I", &include, "-c", SOURCE, "-o",
        ])
        .arg(&object)
        .status();
    match compiled {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            println!(
                "cargo::error={SOURCE}: clang failed ({status}); are libbpf-dev and the kernel headers (linux-libc-dev) installed?"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            println!(
                "cargo::error=cannot run {}: {error}; install clang, or name it in CLANG",
                clang.display()
            );
            ExitCode::FAILURE
        }
    }
}
