//! The pages of `man/`, as far as tests read mdoc(7).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One page.
pub(crate) struct Page {
    /// Its file's name, such as `mesh.1`.
    pub(crate) file: String,
    pub(crate) path: PathBuf,
    text: String,
}

/// Flags by command; the program itself has the empty name.
pub(crate) type Commands = BTreeMap<String, BTreeSet<String>>;

/// The project's own folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every page.
pub(crate) fn pages() -> Vec<Page> {
    let entries = fs::read_dir(root().join("man")).expect("the pages");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(Page::read).collect()
}

/// The page in this file of `man/`.
pub(crate) fn page(file: &str) -> Page {
    Page::read(root().join("man").join(file))
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let file = path.file_name().expect("a name").to_string_lossy();
        Self {
            file: file.into_owned(),
            text: fs::read_to_string(&path).expect("a page"),
            path,
        }
    }

    /// What SYNOPSIS says: an entry for each `.Nm`.
    pub(crate) fn synopsis(&self) -> Commands {
        let after = self.text.split_once(".Sh SYNOPSIS").expect("a synopsis").1;
        let section = after.split_once("\n.Sh").expect("an end").0;
        let entries = section.split("\n.Nm").skip(1);
        entries
            .map(|entry| (command(entry), flags(entry).collect()))
            .collect()
    }

    /// The flags that are named after SYNOPSIS.
    pub(crate) fn described(&self) -> BTreeSet<String> {
        let after = self.text.split_once(".Sh DESCRIPTION");
        flags(after.expect("a description").1).collect()
    }

    /// Every `--word`, also in examples.
    pub(crate) fn typed(&self) -> BTreeSet<&str> {
        let words = self
            .text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words
            .filter(|word| word.strip_prefix("--").is_some_and(|name| !name.is_empty()))
            .collect()
    }

    /// The other pages that it names, as `NAME.SECTION`.
    pub(crate) fn references(&self) -> BTreeSet<String> {
        let lines = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix(".Xr "));
        let words = lines.map(|line| line.split_whitespace());
        words
            .filter_map(|mut words| Some(format!("{}.{}", words.next()?, words.next()?)))
            .collect()
    }
}

/// What `.Cm` says.
fn command(entry: &str) -> String {
    let line = entry.lines().find_map(|line| line.strip_prefix(".Cm "));
    line.unwrap_or_default().to_owned()
}

/// What follows `Fl`, and one `-` more.
fn flags(text: &str) -> impl Iterator<Item = String> {
    let words = text.split_whitespace();
    let pairs = words.clone().zip(words.skip(1));
    pairs
        .filter(|(word, _)| word.trim_start_matches('.') == "Fl")
        .map(|(_, name)| format!("-{name}"))
}

#[test]
fn a_synopsis_is_read() {
    let page = Page {
        file: String::new(),
        path: PathBuf::new(),
        text: "\n.Sh SYNOPSIS\n.Nm\n.Op Fl -all\n.Nm\n.Cm a b\n.Op Fl 4 | Fl -six Ar x\n.Sh DESCRIPTION\n.Fl -c\n--x"
            .to_owned(),
    };
    let read: Vec<_> = page.synopsis().into_iter().collect();
    let set = |flags: &[&str]| flags.iter().map(ToString::to_string).collect();
    let wanted = [
        (String::new(), set(&["--all"])),
        ("a b".to_owned(), set(&["-4", "--six"])),
    ];
    assert_eq!(read, wanted);
    assert_eq!(page.described(), set(&["--c"]));
    assert_eq!(page.typed(), ["--x"].into());
}
