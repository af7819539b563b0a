//! The tree as text.

use super::tree::{Comment, File, Item, List, Node};

/// What the author put on one line is broken beyond this many characters, indentation included.
const WIDTH: usize = 100;

/// A tab counts as this many characters.
const TAB: usize = 4;

pub(super) fn file(file: &File<'_>) -> String {
    let mut printer = Printer { out: String::new() };
    printer.comments(&file.item.before, 0);
    let separate = file.item.blank_before && !file.item.before.is_empty();
    if separate {
        printer.out.push('\n');
    }
    printer.node(&file.item.value, 0, 0);
    printer.out.push('\n');
    printer.comments(&file.tail, 0);
    printer.out
}

struct Printer {
    out: String,
}

impl Printer {
    fn indent(&mut self, depth: usize) {
        self.out.extend(std::iter::repeat_n('\t', depth));
    }

    fn comments(&mut self, comments: &[Comment<'_>], depth: usize) {
        for comment in comments {
            let at_start = self.out.is_empty() || self.out.ends_with(['{', '[']);
            let follows_open = self.out.ends_with("{\n") || self.out.ends_with("[\n");
            if comment.blank_before && !at_start && !follows_open {
                self.out.push('\n');
            }
            self.indent(depth);
            self.out.push_str(comment.text);
            self.out.push('\n');
        }
    }

    fn node(&mut self, node: &Node<'_>, depth: usize, column: usize) {
        match node {
            Node::Scalar(text) => self.out.push_str(text),
            Node::List(list) => match one_line(node) {
                Some(line) if column + line.chars().count() <= WIDTH => self.out.push_str(&line),
                _ => self.list(list, depth),
            },
        }
    }

    fn list(&mut self, list: &List<'_>, depth: usize) {
        self.out.push_str(list.open);
        self.out.push('\n');
        let paddings = paddings(&list.items, depth + 1);
        for (index, item) in list.items.iter().enumerate() {
            self.comments(&item.before, depth + 1);
            if item.blank_before && (index > 0 || !item.before.is_empty()) {
                self.out.push('\n');
            }
            self.indent(depth + 1);
            let mut column = (depth + 1) * TAB;
            if let Some(key) = item.key {
                self.out.push_str(key);
                self.out.push_str(": ");
                self.out.extend(std::iter::repeat_n(' ', paddings[index]));
                column += key.chars().count() + 2;
            }
            self.node(&item.value, depth + 1, column);
            self.out.push(',');
            for comment in &item.after {
                self.out.push(' ');
                self.out.push_str(comment);
            }
            self.out.push('\n');
        }
        self.comments(&list.tail, depth + 1);
        self.indent(depth);
        self.out.push_str(list.close);
    }
}

/// A value on one line, if the author had it so and no comment stands in it.
fn one_line(node: &Node<'_>) -> Option<String> {
    let list = match node {
        Node::Scalar(text) => return Some((*text).to_owned()),
        Node::List(list) => list,
    };
    if list.spans_lines && !list.items.is_empty() || !list.tail.is_empty() {
        return None;
    }
    let mut words = Vec::with_capacity(list.items.len());
    for item in &list.items {
        if !item.before.is_empty() || !item.after.is_empty() {
            return None;
        }
        let value = one_line(&item.value)?;
        words.push(match item.key {
            Some(key) => format!("{key}: {value}"),
            None => value,
        });
    }
    Some(format!("{}{}{}", list.open, words.join(", "), list.close))
}

/// For each item, the blanks that bring its value into line with those of its neighbours.
fn paddings(items: &[Item<'_>], depth: usize) -> Vec<usize> {
    let key_length = |item: &Item<'_>| item.key.map_or(0, |key| key.chars().count());
    let fits = |item: &Item<'_>| {
        one_line(&item.value)
            .is_some_and(|line| depth * TAB + key_length(item) + 2 + line.chars().count() <= WIDTH)
    };
    let fitting: Vec<bool> = items.iter().map(fits).collect();
    let mut paddings = vec![0; items.len()];
    let mut start = 0;
    while start < items.len() {
        let goes_on = |n: &usize| {
            let item = &items[*n];
            fitting[*n] && fitting[*n - 1] && !item.blank_before && item.before.is_empty()
        };
        let end = start + 1 + (start + 1..items.len()).take_while(goes_on).count();
        let run = &items[start..end];
        let longest = run.iter().map(key_length).max().unwrap_or(0);
        for (padding, item) in paddings[start..end].iter_mut().zip(run) {
            *padding = longest - key_length(item);
        }
        start = end;
    }
    paddings
}
