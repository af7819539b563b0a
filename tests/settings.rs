//! meshd.toml(5) says what `/etc/meshd/meshd.toml` may hold, and what holds without it.

use std::collections::BTreeSet;

use meshd::manager::config::Config;

const PAGE: &str = include_str!("../man/meshd.toml.5");
/// The file that the package puts there.
const SHIPPED: &str = include_str!("../packaging/etc/meshd.toml");

fn read(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

/// The keys that the reader of the file names when it meets one that it does not know.
fn known() -> BTreeSet<String> {
    let error = read("no_such_key = 0\n").expect_err("an unknown key");
    let list = error.split_once("expected one of").expect("a list").1;
    let quoted = list.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// The keys of the page, each with its default as the file would have it.
fn described() -> Vec<(String, String)> {
    let entries = PAGE.lines().filter_map(|line| line.strip_prefix(".It Ic "));
    entries
        .map(|entry| {
            let (key, value) = entry.split_once(" No = ").expect("a default");
            let value = match value.strip_prefix("Qq ") {
                Some(text) => format!("{text:?}"),
                None => value.to_owned(),
            };
            (key.to_owned(), value)
        })
        .collect()
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let keys: BTreeSet<String> = described().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, known());
}

#[test]
fn the_page_tells_the_defaults() {
    for (key, value) in described() {
        let set = read(&format!("{key} = {value}\n"));
        assert_eq!(set, Ok(Config::default()), "{key} = {value}");
    }
}

#[test]
fn the_pages_examples_are_in_order() {
    let examples = PAGE.split(".Bd -literal -offset indent\n").skip(1);
    let mut count = 0;
    for example in examples.filter_map(|rest| rest.split_once("\n.Ed")) {
        read(example.0).expect("an example");
        count += 1;
    }
    assert!(count > 1);
}

#[test]
fn the_shipped_file_changes_nothing_and_names_every_key_with_its_default() {
    assert_eq!(read(SHIPPED), Ok(Config::default()));
    let lines = SHIPPED.lines().filter_map(|line| line.strip_prefix('#'));
    let settings: Vec<&str> = lines.filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(read(&settings.join("\n")), Ok(Config::default()));
    let described = described().into_iter();
    let wanted: Vec<String> = described
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    assert_eq!(settings, wanted);
}
