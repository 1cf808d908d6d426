//! Clients of other people, unmodified: redis-py, redis-benchmark.

use std::path::Path;
use std::process::Command;

use crate::program::Store;

#[test]
fn redis_py_does_its_work_in_both_versions() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis_py.py");
    let store = Store::with(&["acme", "other"], &[]);
    for version in ["2", "3"] {
        let output = Command::new(&python)
            .arg(&script)
            .args(["--port", store.port(), "--socket"])
            .arg(store.socket())
            .args(["--protocol", version])
            .output()
            .expect("a virtual environment in .venv; run make tools");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "version {version}: {told}");
        assert_eq!(output.stdout, b"all is well\n");
    }
}

#[test]
fn redis_benchmark_measures_it() {
    let store = Store::open();
    for (bytes, pipeline) in [("100", "1"), ("1000", "16"), ("100000", "1")] {
        let output = Command::new("redis-benchmark")
            .args(["-p", store.port(), "-n", "2000", "-c", "20", "-q"])
            .args([
                "-t",
                "ping,set,get,mset",
                "-d",
                bytes,
                "-P",
                pipeline,
                "-r",
                "1000",
            ])
            .output()
            .expect("redis-benchmark is there; run testing/install-debian.sh");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}");
        for name in ["SET:", "GET:", "MSET (10 keys):"] {
            assert!(told.contains(name), "{told}");
        }
        assert!(!told.contains("rror"), "{told}");
    }
}
