//! The fuzz targets without a nightly compiler: inputs of the corpus, changed at random, for as
//! many seconds as `MESHD_FUZZ_SECONDS` says (one without it). An input that leads to something
//! new joins the corpus of the run; one that panics is printed.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn fuzz_policy() {
    run("policy", targets::policy);
}

#[test]
fn fuzz_peer_document() {
    run("peer_document", targets::peer_document);
}

/// Pieces of both languages, which random bytes would take long to find.
const WORDS: [&str; 44] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "//",
    "/*",
    "*/",
    "\n",
    "null",
    "true",
    "-1",
    "1e999",
    "99999999999999999999",
    "0",
    "*",
    "tag:",
    "tag:web",
    "group:dev",
    "autogroup:self",
    "autogroup:member",
    "autogroup:internet",
    "autogroup:danger-all",
    "localpart:*@",
    "localpart:*@example.com",
    "user:*@example.com",
    "ipset:net",
    "0.0.0.0/0",
    "::/0",
    "255.255.255.255/32",
    "[fd7a::1]:22",
    "tcp:1-65535",
    "168h",
    "-1ns",
    "9223372036854775807ns",
    "root",
    "\u{feff}",
    "é",
    "\u{202e}",
];

/// The longest input that is tried, in bytes.
const LONGEST: usize = 1 << 16;

/// The most inputs that a run keeps.
const MOST_KEPT: usize = 4096;

#[expect(
    clippy::print_stdout,
    reason = "the counts are part of what the test shows"
)]
fn run(name: &str, target: fn(&[u8]) -> String) {
    let seconds = std::env::var("MESHD_FUZZ_SECONDS")
        .map_or(1, |text| text.parse().expect("a number of seconds"));
    let mut pool = corpus(name);
    let seeds = pool.len();
    let mut seen: HashSet<String> = pool.iter().map(|input| target(input)).collect();
    let mut dice = Dice(seconds ^ 0x6d65_7368);
    let (start, mut runs) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let input = changed(&mut dice, &pool);
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let Ok(outcome) = outcome else {
            panic!("{name} panics on {:?}", String::from_utf8_lossy(&input));
        };
        if seen.insert(outcome) && pool.len() < MOST_KEPT {
            pool.push(input);
        }
        runs += 1;
    }
    println!(
        "{name}: {runs} inputs in {seconds} s from {seeds} of the corpus, {} kinds of outcome",
        seen.len()
    );
    assert!(runs > 0 && seen.len() > seeds);
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("a corpus entry").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).expect("a readable input"))
        .collect()
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).expect("below the limit")
    }

    fn pick<'a>(&mut self, pool: &'a [Vec<u8>]) -> &'a [u8] {
        &pool[self.below(pool.len())]
    }

    /// A part of an input, of at most 400 bytes.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let end = start + self.below((length - start).min(400) + 1);
        start..end
    }
}

fn changed(dice: &mut Dice, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = dice.pick(pool).to_vec();
    for _ in 0..=dice.below(4) {
        change_once(dice, &mut input, pool);
    }
    input.truncate(LONGEST);
    input
}

fn change_once(dice: &mut Dice, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
    let part = dice.part(input.len());
    match dice.below(9) {
        0 if !input.is_empty() => {
            let at = dice.below(input.len());
            input[at] = u8::try_from(dice.below(256)).expect("a byte");
        }
        1 => {
            input.drain(part);
        }
        2 => {
            let again = input[part.clone()].to_vec();
            input.splice(part.start..part.start, again);
        }
        3 => {
            let other = dice.pick(pool).to_vec();
            let from = dice.part(other.len());
            input.splice(part, other[from].to_vec());
        }
        4 => quoted(dice, input),
        5 => nested(dice, input),
        _ => {
            let word = WORDS[dice.below(WORDS.len())];
            let end = part.end.min(part.start + dice.below(8));
            input.splice(part.start..end, word.bytes());
        }
    }
}

/// Replaces a whole string by a word, or by a string from elsewhere in the input.
fn quoted(dice: &mut Dice, input: &mut Vec<u8>) {
    let quotes: Vec<usize> = (0..input.len()).filter(|at| input[*at] == b'"').collect();
    let pairs = quotes.len() / 2;
    if pairs == 0 {
        return;
    }
    let string = |n: usize| quotes[2 * n] + 1..quotes[2 * n + 1];
    let (to, from) = (string(dice.below(pairs)), string(dice.below(pairs)));
    let word = if dice.below(2) == 0 {
        input[from].to_vec()
    } else {
        WORDS[dice.below(WORDS.len())].as_bytes().to_vec()
    };
    input.splice(to, word);
}

/// Opens many lists or objects at once.
fn nested(dice: &mut Dice, input: &mut Vec<u8>) {
    let at = dice.below(input.len() + 1);
    let open = ["[", "{\"a\":", "/*", "[["][dice.below(4)];
    let many = open.repeat(1 + dice.below(300));
    input.splice(at..at, many.bytes());
}
