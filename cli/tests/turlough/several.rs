//! Several functions with flows behind one gateway.

use serde_json::json;

use crate::harness::{Dev, probe_folder, stack};

#[tokio::test]
async fn flow_of_several_functions_is_named_with_its_function() {
    let folder = probe_folder();
    let label = "    labels: { turlough.flow-function: \"true\" }\n";
    let set = format!("{label}    environment: {{ TURLOUGH_LISTEN: 127.0.0.2 }}\n");
    let functions = stack(&[("probe", ""), ("one", label), ("two", &set)]);
    std::fs::write(folder.path().join("stack.yaml"), functions).unwrap();
    let dev = Dev::start(&folder.path().join("stack.yaml"), &[]);

    let flows = dev.run(&["flows", "--output", "json"]).json();
    let served = |function: &str| {
        let flows = flows["flows"].as_array().unwrap();
        let of = flows
            .iter()
            .find(|f| f["function"] == function && f["flow"] == "echo");
        of.unwrap_or_else(|| panic!("none of {function} in {flows:?}"))["version"].clone()
    };
    // The test function gives the address that it was told as its flow's version.
    assert_eq!(
        [served("one"), served("two")],
        [json!("127.0.0.1"), json!("127.0.0.2")]
    );

    let which = dev.run(&["run", "echo"]);
    assert_eq!(which.code, Some(2));
    for form in ["flows/echo", "one/echo", "two/echo"] {
        assert!(which.stderr.contains(form), "{}", which.stderr);
    }
    let ran = dev.run(&["run", "flows/echo", "-d", "[1]"]);
    assert_eq!((ran.code, ran.text()), (Some(0), "[1]"), "{}", ran.stderr);
}
