//! Gateways that ask for a password: where it comes from, and who gets it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::harness::{Dev, Ended, ended, probe_folder, turlough};

/// A platform with a password, and the folder that holds it.
pub(crate) fn guarded(more: &[&str]) -> (Dev, tempfile::TempDir, PathBuf) {
    let folder = probe_folder();
    let auth = folder.path().join("auth");
    std::fs::create_dir(&auth).unwrap();
    std::fs::write(auth.join("basic-auth-user"), "admin\n").unwrap();
    std::fs::write(auth.join("basic-auth-password"), "s3cret\n").unwrap();
    let stack = folder.path().join("stack.yaml");
    let arguments = [&["--basic-auth", auth.to_str().unwrap()], more].concat();
    let dev = Dev::with(&stack, &[], &arguments);
    let password = auth.join("basic-auth-password");
    (dev, folder, password)
}

/// What `faas-cli login` keeps.
fn stored(folder: &Path, gateway: &str) {
    let text = format!("auths:\n- gateway: {gateway}\n  auth: basic\n  token: YWRtaW46czNjcmV0\n");
    std::fs::write(folder.join("config.yml"), text).unwrap();
}

#[test]
fn password_is_taken_from_a_file_a_variable_or_faas_cli() {
    let (dev, folder, password) = guarded(&[]);
    let check = |what: &str, arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = dev.command(&[&["flows", "--output", "json"], arguments].concat());
        command.envs(variables.iter().copied());
        let listed = ended(command);
        assert_eq!(listed.code, Some(0), "{what}: {listed:?}");
        assert!(listed.text().contains("\"echo\""), "{what}: {listed:?}");
    };
    let file = password.to_str().unwrap();
    check("file", &["--password-file", file], &[]);
    let named = ["--username", "admin", "--password-file", file];
    check("user and file", &named, &[]);
    check(
        "variables",
        &[],
        &[
            ("TURLOUGH_GATEWAY_USER", "admin"),
            ("TURLOUGH_GATEWAY_PASSWORD_FILE", file),
        ],
    );
    let password = [("TURLOUGH_GATEWAY_PASSWORD", "s3cret")];
    check("password", &[], &password);
    stored(folder.path(), dev.gateway());
    let config = [("OPENFAAS_CONFIG", folder.path().to_str().unwrap())];
    check("faas-cli", &[], &config);
    check("faas-cli's user", &["--username", "admin"], &config);
}

#[test]
fn refusal_says_whether_a_password_is_missing_or_wrong() {
    let (dev, folder, password) = guarded(&[]);
    let check = |arguments: &[&str], code: i32, part: &str| {
        let listed = dev.run(&[&["flows"], arguments].concat());
        assert_eq!(listed.code, Some(code), "{listed:?}");
        assert!(listed.stderr.contains(part), "{listed:?}");
        assert!(!listed.stderr.contains("s3cret"), "{listed:?}");
    };
    check(&[], 1, "the gateway asks for a user and a password");
    let file = password.to_str().unwrap();
    check(
        &["--username", "other", "--password-file", file],
        1,
        "refuses user `other` with this password",
    );
    check(&["--username", "other"], 2, "user `other` has no password");
    let absent = folder.path().join("absent");
    let absent = absent.to_str().unwrap();
    check(
        &["--password-file", absent],
        2,
        "cannot read the password file",
    );
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    check(&["--password-file", empty.to_str().unwrap()], 2, "is empty");
}

#[test]
fn password_goes_to_its_own_gateway_and_never_to_a_function() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = format!("http://{}", listener.local_addr().unwrap());
    let answers = [
        r#"[{"name":"flows","labels":{"turlough.flow-function":"true"}}]"#,
        r#"{"flows":[]}"#,
    ];
    let heads = std::thread::spawn(move || {
        let mut heads = Vec::new();
        // Twice the two of `turlough flows`.
        for answer in answers.iter().cycle().take(4) {
            let (mut line, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut piece = [0; 4096];
            while !head.ends_with(b"\r\n\r\n") {
                let read = line.read(&mut piece).unwrap();
                head.extend_from_slice(&piece[..read]);
            }
            let size = answer.len();
            let head_of_answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n{answer}"
            );
            line.write_all(head_of_answer.as_bytes()).unwrap();
            heads.push(String::from_utf8(head).unwrap().to_lowercase());
        }
        heads
    });
    let folder = tempfile::tempdir().unwrap();
    let list = |stored_for: &str| {
        stored(folder.path(), stored_for);
        let mut command = turlough(&["flows", "--gateway", &gateway]);
        command.env("OPENFAAS_CONFIG", folder.path());
        let Ended { code, stderr, .. } = ended(command);
        assert_eq!(code, Some(0), "{stderr}");
    };
    list(&gateway);
    list("http://127.0.0.1:1");
    let heads = heads.join().unwrap();
    let has = heads
        .iter()
        .map(|head| head.contains("authorization: basic"));
    assert_eq!(
        has.collect::<Vec<_>>(),
        [true, false, false, false],
        "{heads:?}"
    );
}

#[test]
fn command_of_dev_knows_the_password_of_its_gateway() {
    let folder = probe_folder();
    let auth = folder.path();
    std::fs::write(auth.join("basic-auth-user"), "admin").unwrap();
    std::fs::write(auth.join("basic-auth-password"), "s3cret").unwrap();
    let stack = auth.join("stack.yaml");
    let mut command = crate::harness::dev(&stack);
    command.args(["--quiet", "--basic-auth", auth.to_str().unwrap(), "--"]);
    command.args([env!("CARGO_BIN_EXE_turlough"), "flows"]);
    // Of another gateway.
    command.env("TURLOUGH_GATEWAY_PASSWORD", "wrong");
    let listed = ended(command);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.text().contains("echo"), "{listed:?}");
}
