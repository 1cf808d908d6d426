//! Whether a function's program is there, before somebody calls the function.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::ProcessSpec;

/// Where the kernel's callers look that have no `PATH`.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// Looks for it where its process would, which is started in the function's folder.
pub(super) fn check(process: &ProcessSpec) -> io::Result<()> {
    let (program, folder) = (Path::new(&process.program), &process.directory);
    let is_there = if process.program.contains('/') {
        is_executable(&folder.join(program))
    } else {
        let said = process.environment.get("PATH").map(OsString::from);
        let path = said.or_else(|| std::env::var_os("PATH"));
        let path = path.unwrap_or_else(|| PATH_DEFAULT.into());
        std::env::split_paths(&path).any(|place| is_executable(&folder.join(place).join(program)))
    };
    if is_there {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "there is no such program",
    ))
}

fn is_executable(path: &Path) -> bool {
    let found = std::fs::metadata(path);
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
