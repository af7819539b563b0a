//! From a [`Value`] to a [`Document`], with every problem on the way.

mod approvers;
mod definitions;
mod document;
mod grants;
mod network;
#[cfg(test)]
mod page;
mod place;
mod ssh;
mod ssh_extensions;
mod tests;

use std::fmt;

pub(crate) use document::read;
pub(crate) use network::split_destination;

use crate::hujson::{Kind, Member, Value};
use crate::model::{DomainUse, Remark, UserUse};
use crate::problem::{Errors, MAX_PROBLEMS, Position, Problem};
use crate::suggest;

/// Collects problems while the file is read.
struct Reader<'t> {
    text: &'t str,
    problems: Vec<RawProblem>,
    remarks: Vec<Remark>,
    domain_uses: Vec<DomainUse>,
    user_uses: Vec<UserUse>,
    /// How many more names are looked for; bounds the time that a bad file takes.
    suggestions_left: usize,
}

const MAX_SUGGESTIONS: usize = 50;

/// A problem whose line is not counted yet: counting takes time, and only the first
/// [`MAX_PROBLEMS`] are told.
struct RawProblem {
    at: usize,
    path: String,
    message: String,
    help: String,
}

/// Where the reader stands: a key or an index, and the way to it.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    const ROOT: Self = Self {
        parent: None,
        step: Step::Root,
    };

    fn key(&'a self, key: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let plain = |key: &str| {
            key.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) if plain(key) => match self.parent.map(|parent| parent.step) {
                None | Some(Step::Root) => f.write_str(key),
                Some(Step::Key(_) | Step::Index(_)) => write!(f, ".{key}"),
            },
            Step::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}

/// The members of an object that the language knows, by their proper names.
struct Fields<'v> {
    known: Vec<(&'static str, &'v Value)>,
}

impl<'v> Fields<'v> {
    /// The value of a field; null counts as absent.
    fn value(&self, name: &str) -> Option<&'v Value> {
        self.with_null(name)
            .filter(|value| value.kind != Kind::Null)
    }

    fn with_null(&self, name: &str) -> Option<&'v Value> {
        self.known
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            problems: Vec::new(),
            remarks: Vec::new(),
            domain_uses: Vec::new(),
            user_uses: Vec::new(),
            suggestions_left: MAX_SUGGESTIONS,
        }
    }

    fn problem(
        &mut self,
        at: usize,
        path: &Path<'_>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(RawProblem {
            at,
            path: path.to_string(),
            message: message.into(),
            help: help.into(),
        });
    }

    /// The defined name that is nearest to `word`, or `otherwise`.
    fn suggest<'a>(
        &mut self,
        word: &str,
        defined: impl IntoIterator<Item = &'a str>,
        otherwise: &str,
    ) -> String {
        if self.suggestions_left == 0 {
            return otherwise.to_owned();
        }
        self.suggestions_left -= 1;
        let suggestion = suggest::did_you_mean(word, defined);
        if suggestion.is_empty() {
            otherwise.to_owned()
        } else {
            suggestion
        }
    }

    fn remark(&mut self, at: usize, path: &Path<'_>, message: impl Into<String>) {
        self.remarks.push(Remark {
            at,
            path: path.to_string(),
            message: message.into(),
        });
    }

    /// The errors, in the order of the file; none if there is no problem.
    fn errors(mut self) -> Option<Errors> {
        self.problems.sort_by_key(|problem| problem.at);
        self.problems.truncate(MAX_PROBLEMS);
        let text = self.text;
        let placed = |raw: RawProblem| Problem {
            position: Position::of(text, raw.at),
            path: raw.path,
            message: raw.message,
            help: raw.help,
        };
        Errors::from_problems(self.problems.into_iter().map(placed).collect())
    }

    fn wrong_kind(&mut self, value: &Value, path: &Path<'_>, wanted: &str) {
        self.problem(
            value.at,
            path,
            format!("{} stands where {wanted} must be", value.kind.name()),
            "",
        );
    }

    fn text<'v>(&mut self, value: &'v Value, path: &Path<'_>) -> Option<&'v str> {
        if let Kind::Text(text) = &value.kind {
            return Some(text.trim());
        }
        self.wrong_kind(value, path, "a string");
        None
    }

    fn bool(&mut self, value: &Value, path: &Path<'_>) -> Option<bool> {
        if let Kind::Bool(value) = value.kind {
            return Some(value);
        }
        self.wrong_kind(value, path, "true or false");
        None
    }

    fn list<'v>(&mut self, value: &'v Value, path: &Path<'_>) -> &'v [Value] {
        if let Kind::Array(items) = &value.kind {
            return items;
        }
        self.wrong_kind(value, path, "a list");
        &[]
    }

    /// The strings of a list that may be absent, with their values and indices.
    fn texts<'v>(
        &mut self,
        value: Option<&'v Value>,
        path: &Path<'_>,
    ) -> Vec<(usize, &'v Value, &'v str)> {
        let Some(value) = value else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in self.list(value, path).iter().enumerate() {
            if let Some(text) = self.text(item, &path.index(index)) {
                texts.push((index, item, text));
            }
        }
        texts
    }

    /// The members of an object whose keys are the user's own, without repeated ones.
    fn members<'v>(&mut self, value: &'v Value, path: &Path<'_>) -> Vec<&'v Member> {
        let Kind::Object(members) = &value.kind else {
            self.wrong_kind(value, path, "an object");
            return Vec::new();
        };
        let mut seen = std::collections::HashSet::new();
        let mut unique = Vec::new();
        for member in members {
            if seen.insert(member.key.as_str()) {
                unique.push(member);
            } else {
                self.duplicate(member, path);
            }
        }
        unique
    }

    /// The fields of an object; unknown and repeated ones are problems. Names match without
    /// regard to case, as Headscale does and as old Tailscale examples need.
    fn fields<'v>(
        &mut self,
        value: &'v Value,
        path: &Path<'_>,
        names: &[&'static str],
    ) -> Option<Fields<'v>> {
        let Kind::Object(members) = &value.kind else {
            self.wrong_kind(value, path, "an object");
            return None;
        };
        let mut known: Vec<(&'static str, &Value)> = Vec::new();
        for member in members {
            let name = names
                .iter()
                .find(|name| name.eq_ignore_ascii_case(&member.key));
            match name {
                None => {
                    let help = self.suggest(&member.key, names.iter().copied(), "");
                    self.problem(
                        member.key_at,
                        &path.key(&member.key),
                        format!("unknown field: {:?}", member.key),
                        help,
                    );
                }
                Some(name) if known.iter().any(|(seen, _)| seen == name) => {
                    self.duplicate(member, path);
                }
                Some(name) => known.push((name, &member.value)),
            }
        }
        Some(Fields { known })
    }

    fn duplicate(&mut self, member: &Member, path: &Path<'_>) {
        self.problem(
            member.key_at,
            &path.key(&member.key),
            format!("duplicate key: {:?}", member.key),
            "keep one of them, and put what both say into it",
        );
    }
}
