//! The documents about faults name tests that exist.

use std::path::Path;

const DOCUMENTS: [(&str, &str, usize); 2] = [
    (
        "docs/never-again.md",
        include_str!("../docs/never-again.md"),
        27,
    ),
    (
        "docs/cve-checklist.md",
        include_str!("../docs/cve-checklist.md"),
        27,
    ),
];

const CLIENTS: &str = include_str!("../docs/clients.md");

/// The rows of the first table, heading and rule left out.
fn rows(text: &str) -> Vec<&str> {
    let table = text.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.skip(2).collect()
}

/// What stands between backticks and names a test: `file::function`.
fn tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once(".rs::")).collect()
}

fn has_test(source: &str, function: &str) -> bool {
    let head = format!("fn {function}(");
    let before = source.split_once(&head).map(|(before, _)| before);
    let attributes = before.and_then(|before| before.rsplit("\n\n").next());
    attributes.is_some_and(|lines| lines.contains("#[test]") || lines.contains("::test]"))
        // The first in a module of tests, or one within proptest!.
        || before.is_some_and(|before| before.trim_end().ends_with("#[test]"))
}

#[test]
fn every_row_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (document, text, count) in DOCUMENTS {
        let rows = rows(text);
        assert_eq!(rows.len(), count, "{document}");
        for row in rows {
            assert!(!tests(row).is_empty(), "{document} has no test in {row}");
        }
        assert_tests_exist(document, text, &root);
    }
}

fn assert_tests_exist(document: &str, text: &str, root: &Path) {
    for (file, function) in tests(text) {
        let path = root.join(format!("{file}.rs"));
        let source = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            has_test(&source, function),
            "{document}: {file}.rs has no test {function}"
        );
    }
}

/// Rows of clients name functions of one folder; those of programs name file and function.
#[test]
fn every_client_and_program_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (clients, programs) = CLIENTS.split_once("## Over ssh").expect("two tables");
    let files = ["on_the_command_line", "libraries"].map(|name| {
        let path = root.join(format!("tests/clients/{name}.rs"));
        std::fs::read_to_string(path).expect("tests")
    });
    assert_eq!(rows(clients).len(), 11);
    for row in rows(clients) {
        let last = row.rsplit('`').nth(1).unwrap_or_default();
        let named = files.iter().any(|source| has_test(source, last));
        assert!(named, "docs/clients.md: no test {last} of {row}");
    }
    assert_eq!(rows(programs).len(), 16);
    for row in rows(programs) {
        assert!(!tests(row).is_empty(), "docs/clients.md: no test in {row}");
    }
    assert_tests_exist("docs/clients.md", programs, &root);
}

#[test]
fn a_function_that_is_no_test_does_not_count() {
    assert!(has_test("\n#[test]\nfn a() {}\n", "a"));
    assert!(!has_test("\n#[test]\nfn a() {}\n\nfn b() {}\n", "b"));
    assert!(!has_test("\n#[test]\nfn abc() {}\n", "ab"));
}
