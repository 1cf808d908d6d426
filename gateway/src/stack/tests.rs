//! Stack files, good and bad, against what is made of them.

use std::collections::HashMap;
use std::fs;

use super::*;

fn parse(text: &str) -> Result<Stack, StackError> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("echo")).unwrap();
    let variables = HashMap::from([("GREETING".to_owned(), "hello: #1".to_owned())]);
    Stack::parse(&folder.path().join("stack.yaml"), text, variables)
}

/// Checks the place and a part of the message.
fn check_error(text: &str, line: Option<u64>, part: &str) {
    let error = parse(text).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(part), "{message}");
    assert_eq!(error.line(), line, "{message}");
    assert!(message.contains("stack.yaml:"), "{message}");
}

const GOOD: &str = r#"
version: 1.0
provider:
  name: openfaas
  gateway: http://127.0.0.1:8080
functions:
  echo:
    lang: python3
    handler: ./echo
    image: ${REGISTRY:-example.org}/echo:latest
    environment:
      greeting: ${GREETING}
      times: 3
      exact: 1.50
      loud: true
      empty: ${EMPTY:-}
      dollar: $HOME
    secrets: [api-key]
    constraints: ["node.role == worker"]
    labels:
      com.openfaas.scale.min: 1
    annotations:
      turlough.process: python3 -u 'my handler.py' "a b" --n=1
      com.openfaas.health.http.path: /healthy
    limits: {memory: 128Mi, cpu: 100m}
    requests: {memory: 64Mi}
    readonly_root_filesystem: true
    build_args: {A: b}
    namespace: other
configuration:
  templates: [{name: x, source: y}]
"#;

#[test]
fn every_key_is_read() {
    let stack = parse(GOOD).unwrap();
    let [function] = stack.functions() else {
        panic!("one function: {stack:?}")
    };
    let StackFunction { spec, process } = function;
    assert_eq!(spec.name.qualified(), "echo.other");
    assert_eq!(spec.image, "example.org/echo:latest");
    assert_eq!(spec.labels["com.openfaas.scale.min"], "1");
    assert_eq!(spec.secrets, ["api-key"]);
    assert_eq!(spec.constraints, ["node.role == worker"]);
    assert_eq!(
        spec.limits.as_ref().unwrap().memory.as_deref(),
        Some("128Mi")
    );
    assert_eq!(spec.requests.as_ref().unwrap().cpu, None);
    assert!(spec.read_only_root_filesystem);
    assert_eq!(process.program, "python3");
    assert_eq!(process.args, ["-u", "my handler.py", "a b", "--n=1"]);
    assert!(process.directory.is_absolute() && process.directory.ends_with("echo"));
    assert_eq!(process.health_path, "/healthy");
}

#[test]
fn small_values_and_variables_become_strings_as_they_are_written() {
    let stack = parse(GOOD).unwrap();
    let environment = &stack.functions()[0].process.environment;
    let expected = [
        ("dollar", "$HOME"),
        ("empty", ""),
        ("exact", "1.50"),
        ("greeting", "hello: #1"),
        ("loud", "true"),
        ("times", "3"),
    ];
    let found: Vec<_> = environment
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn health_path_is_openfaas_s_unless_annotated() {
    let stack = parse(
        "functions:\n  echo:\n    handler: echo\n    annotations:\n      turlough.process: x\n",
    );
    assert_eq!(
        stack.unwrap().functions()[0].process.health_path,
        "/_/health"
    );
}

#[test]
fn unknown_key_is_named_with_its_line() {
    check_error(
        "functions:\n  echo:\n    handlr: ./echo\n",
        Some(3),
        "handlr",
    );
    check_error("function:\n  echo: {}\n", Some(1), "function");
}

#[test]
fn bad_name_is_named_with_its_line() {
    let text = "version: 1.0\nfunctions:\n  Bad_Name:\n    handler: ./echo\n";
    check_error(
        text,
        Some(3),
        "`Bad_Name` is not a function or namespace name",
    );
    let text = format!("functions:\n  {}:\n    handler: echo\n", "a".repeat(64));
    check_error(&text, Some(2), "1 to 63");
    let text = "functions:\n  echo:\n    namespace: a.b\n";
    check_error(text, Some(2), "`a.b` is not");
}

#[test]
fn two_functions_of_one_name_are_refused_with_the_line() {
    let text = "functions:\n  echo:\n    handler: ./echo\n  echo:\n    handler: ./echo\n";
    check_error(text, Some(4), "echo");
}

#[test]
fn missing_handler_directory_is_named() {
    let text =
        "functions:\n  echo:\n    handler: ./nowhere\n    annotations: {turlough.process: x}\n";
    check_error(text, Some(2), "nowhere` does not exist");
    check_error(
        "functions:\n  echo:\n    annotations: {turlough.process: x}\n",
        Some(2),
        "write handler:",
    );
}

#[test]
fn missing_command_says_what_to_write() {
    let text = "functions:\n  echo:\n    handler: ./echo\n";
    check_error(
        text,
        Some(2),
        "for example turlough.process: python3 handler.py",
    );
}

#[test]
fn command_that_no_shell_would_split_is_refused() {
    for command in ["python3 'x", "''''x \"", "   "] {
        let text = format!(
            "functions:\n  echo:\n    handler: ./echo\n    annotations:\n      turlough.process: |-\n        {command}\n"
        );
        check_error(&text, Some(2), "is not a command");
    }
}

#[test]
fn unset_variable_without_a_default_is_named_with_its_line() {
    check_error(
        "functions:\n  echo:\n    image: ${NOT_SET}\n",
        Some(3),
        "NOT_SET",
    );
}

#[test]
fn other_versions_and_providers_are_refused() {
    check_error(
        "version: 2.0\nfunctions: {}\n",
        Some(1),
        "write version: 1.0",
    );
    check_error(
        "provider:\n  name: faas\nfunctions: {}\n",
        Some(2),
        "name: openfaas",
    );
}

#[test]
fn file_without_functions_or_without_sense_is_refused() {
    check_error("version: 1.0\n", None, "no functions");
    check_error("functions: [1\n", Some(1), "expected mapping");
    let error = Stack::load(Path::new("/nowhere/stack.yaml")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/stack.yaml: cannot read"),
        "{error}"
    );
}

#[test]
fn relative_health_path_is_refused() {
    let text = "functions:\n  echo:\n    handler: echo\n    annotations:\n      turlough.process: x\n      com.openfaas.health.http.path: up\n";
    check_error(text, Some(2), "must begin with `/`");
}

fn deployable(text: &str, files: &[(&str, &str)]) -> Result<Vec<DeployableFunction>, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("echo")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let stack = DeployableStack::parse(&folder.path().join("stack.yaml"), text, HashMap::new());
    stack
        .map(DeployableStack::into_functions)
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_deployed_elsewhere_is_said_in_openfaas_s_words() {
    let text = "functions:\n  echo:\n    lang: rust-flow\n    handler: ./echo\n    image: e:1\n    fprocess: ./run\n    \
                environment:\n      a: 1\n      b: ${B:-two}\n    environment_file: [one.yml, two.yml]\n    skip_build: false\n    \
                build_options: [dev]\n    platforms: linux/amd64\n    build_secrets: {k: v}\n    secrets: [s]\n    \
                labels: {l: x}\n    annotations: {n: y}\n    constraints: [c]\n    limits: {memory: 8Mi}\n    \
                readonly_root_filesystem: true\n    namespace: team\n";
    let files = [
        ("one.yml", "environment:\n  a: 2\n  c: $C ${D}\n"),
        ("two.yml", "environment: {a: 3}\n"),
    ];
    let functions = deployable(text, &files).unwrap();
    assert_eq!(functions[0].lang, "rust-flow");
    let said = serde_json::to_value(functions[0].deployment()).unwrap();
    let expected = serde_json::json!({
        "service": "echo", "namespace": "team", "image": "e:1", "envProcess": "./run",
        "envVars": {"a": "3", "b": "two", "c": "$C ${D}"}, "secrets": ["s"], "labels": {"l": "x"},
        "annotations": {"n": "y"}, "constraints": ["c"], "limits": {"memory": "8Mi"},
        "readOnlyRootFilesystem": true,
    });
    assert_eq!(said, expected);
}

#[test]
fn what_no_gateway_would_take_is_refused_before_one_is_asked() {
    let check = |entry: &str, part: &str| {
        let text = format!("functions:\n  echo: {{{entry}}}\n");
        let error = deployable(&text, &[("bad.yml", "variables: {}")]).unwrap_err();
        assert!(
            error.contains("stack.yaml:2: ") && error.contains(part),
            "{error}"
        );
    };
    check("handler: echo", "names no image; write image:");
    check("handler: echo, image: '${E}:1'", "write it without quotes");
    check("handler: none, image: e", "none` does not exist");
    check("image: e", "write handler:");
    check(
        "handler: echo, image: e, environment_file: [no.yml]",
        "cannot read it",
    );
    check(
        "handler: echo, image: e, environment_file: [bad.yml]",
        "variables",
    );
    check("handler: echo, image: e, imgae: f", "imgae");
    check(
        "handler: echo, image: e, labels: {com.openfaas.scale.min: many}",
        "many",
    );
    assert!(deployable("functions: {echo: {image: e, skip_build: true}}", &[]).is_ok());
}

#[test]
fn gateway_of_this_machine_is_told_the_folder_unless_the_stack_tells_it() {
    let text = "functions:\n  a: {handler: echo, annotations: {turlough.process: x}}\n  \
                b: {handler: echo, annotations: {turlough.process: x, turlough.directory: /b}}\n  \
                c: {handler: echo, image: c}\n";
    let mut functions = deployable(text, &[]).unwrap();
    functions.iter_mut().for_each(DeployableFunction::run_here);
    let folder = |at: usize| functions[at].spec.annotations.get("turlough.directory");
    assert!(folder(0).unwrap().ends_with("/echo"), "{:?}", folder(0));
    assert_eq!(folder(1).unwrap(), "/b");
    assert_eq!(folder(2), None);
}

#[test]
fn a_secret_whose_name_is_a_path_is_refused() {
    let text = GOOD.replace("[api-key]", "[../shadow]");
    let told = "function `echo.other`: `../shadow` is not the name of a secret; write 1 to 253";
    check_error(&text, Some(7), told);
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let text = "functions:\n  echo: { handler: ./echo }\n  echo: { handler: ./echo }\n";
    check_error(text, Some(3), "key `echo` is written twice; rename one");
}
