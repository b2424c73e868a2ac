//! Compiles the XDP programs with clang.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Each program with the folder of its headers.
const PROGRAMS: [(&str, &str); 2] =
    [("src/xsk/steer.bpf.c", "src/xsk/steer"), ("src/pktgen/pktgen.bpf.c", "src/pktgen/bpf")];

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed=CLANG");
    let Some(out) = std::env::var_os("OUT_DIR") else {
        println!("cargo::error=OUT_DIR is not set: run this through cargo");
        return ExitCode::FAILURE;
    };
    for (source, headers) in PROGRAMS {
        println!("cargo::rerun-if-changed={source}");
        println!("cargo::rerun-if-changed={headers}");
        let object = PathBuf::from(&out).join(Path::new(source).file_name().unwrap_or_default());
        if let Err(error) = compile(source, &object.with_extension("o")) {
            println!("cargo::error={error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn compile(source: &str, object: &Path) -> Result<(), String> {
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    // The kernel's headers for user space lie in a directory of their own per architecture on Debian.
    let include = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let compiled = Command::new(&clang)
        .args([
            "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", "-I", &include, "-c", source, "-o",
        ])
        .arg(object)
        .status();
    match compiled {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(
            "{source}: clang failed ({status}); are libbpf-dev and the kernel headers (linux-libc-dev) installed?"
        )),
        Err(error) => {
            Err(format!("cannot run {}: {error}; install clang, or name it in CLANG", clang.display()))
        }
    }
}
