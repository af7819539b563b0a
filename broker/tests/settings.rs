//! meshd-ssh.toml(5) says what `/etc/meshd/ssh.toml` may hold, and what holds without it.

use std::collections::BTreeSet;

use meshd_broker::config::Config;

const PAGE: &str = include_str!("../../man/meshd-ssh.toml.5");

/// Where the page's table of `[limits]` begins.
const LIMITS: &str = ".Ic [limits]";

fn read(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

/// The keys that the reader of the file names when it meets one that it does not know.
fn known(table: &str) -> BTreeSet<String> {
    let error = read(&format!("{table}\nno_such_key = 0\n")).expect_err("an unknown key");
    let list = error.split_once("expected one of").expect("a list").1;
    let quoted = list.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// The keys of a part of the page, and their defaults.
fn described(part: &str) -> Vec<(&str, String)> {
    let entries = part.lines().filter_map(|line| line.strip_prefix(".It Ic "));
    entries
        .map(|entry| {
            let (key, value) = entry.split_once(" No = ").expect("a default");
            let value = match value.strip_prefix("Qq ") {
                Some(text) => format!("{text:?}"),
                None => value.to_owned(),
            };
            (key, value)
        })
        .collect()
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let (general, limits) = PAGE.split_once(LIMITS).expect("both tables");
    for (part, table) in [(general, ""), (limits, "[limits]")] {
        let mut keys: BTreeSet<String> = described(part)
            .into_iter()
            .map(|(key, _)| key.to_owned())
            .collect();
        if table.is_empty() {
            keys.insert("limits".to_owned());
        }
        assert_eq!(keys, known(table), "in {table:?}");
    }
}

#[test]
fn the_page_tells_the_defaults() {
    let (general, limits) = PAGE.split_once(LIMITS).expect("both tables");
    for (part, table) in [(general, ""), (limits, "[limits]")] {
        for (key, value) in described(part) {
            let set = read(&format!("{table}\n{key} = {value}\n")).expect(key);
            assert_eq!(set, Config::default(), "{key} = {value}");
        }
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
