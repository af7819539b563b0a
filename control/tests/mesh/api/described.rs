//! The API is what its description says.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::Program;
use crate::harness::Control;

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

#[tokio::test]
async fn every_operation_is_described_and_asks_for_a_key() {
    let control = Control::start();
    let nobody = Program {
        address: control.address,
        key: String::new(),
    };
    let answer = nobody.get("/openapi.json").await;
    assert_eq!(answer.status, 200, "it is there for everybody");
    let document: Value = answer.json();
    let version = document["openapi"].as_str().expect("a version");
    assert!(version.starts_with("3.1."), "{version}");
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = 0;
    for (path, item) in paths {
        for method in METHODS {
            let operation = &item[method];
            let place = path.replace("{login}", "a@b").replace("{node}", "web1");
            let place = place.replace("{id}", "1");
            let answer = nobody
                .send(&method.to_uppercase(), &place, &[], Vec::new())
                .await;
            if operation.is_null() {
                assert_eq!(answer.status, 405, "{method} {path} is not described");
                continue;
            }
            operations += 1;
            assert_eq!(answer.status, 401, "{method} {path}");
            let scopes = &operation["security"][0]["key"];
            assert!(scopes[0].is_string(), "{method} {path} names no scope");
            assert!(!operation["summary"].is_null(), "{method} {path}");
        }
    }
    assert_eq!(operations, 20);
}

/// Thousands of requests, good and bad, made from the description; each answer is compared with it.
#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let control = Control::start_with(&["--api-rate", "10000"]);
    control.admin(&["users", "create", "owner@example.com", "--role", "owner"]);
    control.join("web1", "alice@example.com").await;
    let program = Program::of(&control);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let prepare = Command::new(root.join("../tests/lab/clients/prepare"))
        .arg("schemathesis")
        .output()
        .expect("the script runs");
    let why = String::from_utf8_lossy(&prepare.stderr);
    assert!(prepare.status.success(), "{why}");
    let place = String::from_utf8(prepare.stdout).expect("UTF-8");

    let scratch = tempfile::tempdir().expect("a directory");
    let tried = Command::new(Path::new(place.trim()).join("venv/bin/schemathesis"))
        .current_dir(&scratch)
        .arg("--config-file")
        .arg(root.join("tests/mesh/api/schemathesis.toml"))
        .args(["--no-color", "run"])
        .arg(format!("https://{}/api/v1/openapi.json", control.address))
        .args(["--tls-verify", "false", "--max-examples", "40"])
        // This machine may be busy.
        .args([
            "--request-timeout",
            "60",
            "--suppress-health-check",
            "too_slow",
        ])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", program.key))
        .output()
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&tried.stdout);
    assert!(tried.status.success(), "{said}");
    assert!(said.contains("Tested: 20"), "{said}");
    assert!(!control.has_logged("a request of a program failed"));
    let users: Value = program.get("/users").await.json();
    let mut users = users["users"].as_array().expect("a list").iter();
    let administers = |user: &Value| ["owner", "admin"].map(Value::from).contains(&user["role"]);
    assert!(users.any(administers), "somebody can undo what was done");
}
