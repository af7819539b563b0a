//! The formatter: what it keeps, and that its output is formatted already.

use meshd_policy::{Policy, format};
use proptest::prelude::*;

fn formatted(text: &str) -> String {
    format(text).expect("HuJSON")
}

#[test]
fn the_default_policy_is_formatted() {
    assert_eq!(formatted(Policy::default_text()), Policy::default_text());
}

#[test]
fn comments_and_short_lists_stay() {
    let text = "// head\n\n{ // first\n\"a\":[1,2 , 3],\"long\" : {\"x\":1}, // after\n\n\n/* block */ \
                \"b\": [ // why\n1\n,2],\n// end\n}\n// tail";
    let expected = "// head\n\n{\n\t// first\n\t\"a\":    [1, 2, 3],\n\t\"long\": {\"x\": 1}, // after\
                    \n\n\t/* block */\n\t\"b\": [\n\t\t// why\n\t\t1,\n\t\t2,\n\t],\n\t// end\n}\n\
                    // tail\n";
    assert_eq!(formatted(text), expected);
}

#[test]
fn long_lines_are_broken() {
    let names: Vec<String> = (0..30).map(|n| format!("\"name{n}\"")).collect();
    let text = format!("{{\"a\": [{}]}}", names.join(","));
    let result = formatted(&text);
    assert!(result.lines().all(|line| line.len() < 100), "{result}");
    assert_eq!(result.lines().count(), 34);
}

#[test]
fn what_is_no_hujson_is_refused_with_its_place() {
    let errors = format("{\n\t\"a\" 1}").expect_err("no HuJSON");
    assert!(
        errors.to_string().starts_with("line 2, column 6:"),
        "{errors}"
    );
}

/// Random HuJSON, with comments and blank lines wherever they are legal.
fn hujson() -> impl Strategy<Value = String> {
    let gap = prop_oneof![
        6 => Just(String::new()),
        3 => Just(" ".to_owned()),
        2 => Just("\n".to_owned()),
        1 => Just("\n\n\n".to_owned()),
        1 => Just(" // line\n".to_owned()),
        1 => Just("/* block */".to_owned()),
        1 => Just("\n/* two\nlines */\n".to_owned()),
    ];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1.5e3".to_owned()),
        "\"[a-z/*]{0,6}\"",
    ];
    let around = (scalar, gap.clone(), gap.clone()).prop_map(|(s, a, b)| format!("{a}{s}{b}"));
    around.prop_recursive(4, 40, 5, move |inner| {
        let item = (inner, gap.clone(), gap.clone());
        let items = proptest::collection::vec(item, 0..5);
        (items, any::<bool>(), any::<bool>(), gap.clone()).prop_map(
            |(items, is_object, comma, end)| {
                let words: Vec<String> = items
                    .iter()
                    .enumerate()
                    .map(|(n, (value, a, b))| {
                        if is_object {
                            format!("{a}\"k{n}\"{b}:{value}")
                        } else {
                            value.clone()
                        }
                    })
                    .collect();
                let comma = if comma && !words.is_empty() { "," } else { "" };
                let inner = words.join(",");
                if is_object {
                    format!("{{{inner}{comma}{end}}}")
                } else {
                    format!("[{inner}{comma}{end}]")
                }
            },
        )
    })
}

/// The comments of a text without strings that look like them, in any order.
fn comment_count(text: &str) -> usize {
    ["// line", "/* block */", "/* two\nlines */"]
        .iter()
        .map(|comment| text.matches(comment).count())
        .sum()
}

/// The same text without comments, blanks and trailing commas.
fn meaning(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            rest = rest.split_once("*/").map_or("", |(_, after)| after);
        } else if first == '"' {
            let end = rest[1..].find('"').map_or(rest.len(), |at| at + 2);
            bare.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            if !first.is_whitespace() {
                if matches!(first, ']' | '}') && bare.ends_with(',') {
                    bare.pop();
                }
                bare.push(first);
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    bare
}

proptest! {
    #[test]
    fn formatting_keeps_meaning_and_comments_and_settles(text in hujson()) {
        let once = formatted(&text);
        prop_assert_eq!(meaning(&once), meaning(&text));
        prop_assert_eq!(comment_count(&once), comment_count(&text), "{}", once);
        prop_assert_eq!(&formatted(&once), &once);
    }
}
