//! The text as a tree of what is written, comments and blank lines included.

use crate::hujson::{Lexer, Token, TokenKind};

/// The whole text.
pub(super) struct File<'t> {
    pub(super) item: Item<'t>,
    /// Comments after the value.
    pub(super) tail: Vec<Comment<'t>>,
}

/// A value with what stands around it.
#[derive(Default)]
pub(super) struct Item<'t> {
    /// A blank line stands before it.
    pub(super) blank_before: bool,
    /// Comments before it.
    pub(super) before: Vec<Comment<'t>>,
    /// In an object.
    pub(super) key: Option<&'t str>,
    pub(super) value: Node<'t>,
    /// Comments after it on its last line.
    pub(super) after: Vec<&'t str>,
}

/// A comment that has a line of its own.
pub(super) struct Comment<'t> {
    pub(super) text: &'t str,
    pub(super) blank_before: bool,
}

pub(super) enum Node<'t> {
    Scalar(&'t str),
    List(List<'t>),
}

/// An array or an object.
pub(super) struct List<'t> {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
    pub(super) items: Vec<Item<'t>>,
    /// Comments before the closing bracket.
    pub(super) tail: Vec<Comment<'t>>,
    /// The author put it on several lines.
    pub(super) spans_lines: bool,
}

impl Default for Node<'_> {
    fn default() -> Self {
        Self::Scalar("")
    }
}

/// Reads a text that the parser has accepted; of another one, what can be read.
pub(super) fn read(text: &str) -> File<'_> {
    let mut reader = Reader {
        text,
        lexer: Lexer::new(text),
        next: None,
        end_of_last: 0,
    };
    let before = reader.comments();
    let item = reader.item(before, false);
    let mut tail = reader.comments();
    tail.retain(|comment| !comment.text.is_empty());
    File { item, tail }
}

struct Reader<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    next: Option<Token>,
    end_of_last: usize,
}

impl<'t> Reader<'t> {
    fn peek(&mut self) -> Token {
        let end = Token {
            kind: TokenKind::End,
            start: self.text.len(),
            end: self.text.len(),
        };
        let lexer = &mut self.lexer;
        *self
            .next
            .get_or_insert_with(|| lexer.next_token().unwrap_or(end))
    }

    fn take(&mut self) -> Token {
        let token = self.peek();
        self.next = None;
        self.end_of_last = token.end;
        token
    }

    fn slice(&self, token: Token) -> &'t str {
        self.text[token.start..token.end].trim_end()
    }

    /// Line feeds between the last token and the next.
    fn lines_before_next(&mut self) -> usize {
        let start = self.peek().start;
        let between = self.text.get(self.end_of_last..start).unwrap_or_default();
        between.bytes().filter(|b| *b == b'\n').count()
    }

    fn is_comment(&mut self) -> bool {
        matches!(
            self.peek().kind,
            TokenKind::LineComment | TokenKind::BlockComment
        )
    }

    fn comments(&mut self) -> Vec<Comment<'t>> {
        let mut comments = Vec::new();
        while self.is_comment() {
            let blank_before = self.lines_before_next() > 1;
            let token = self.take();
            comments.push(Comment {
                text: self.slice(token),
                blank_before,
            });
        }
        comments
    }

    /// Comments that go on in the line of the last token.
    fn comments_on_this_line(&mut self) -> Vec<&'t str> {
        let mut comments = Vec::new();
        while self.is_comment() && self.lines_before_next() == 0 {
            let token = self.take();
            comments.push(self.slice(token));
        }
        comments
    }

    /// The next token is the item's first.
    fn item(&mut self, mut before: Vec<Comment<'t>>, in_object: bool) -> Item<'t> {
        let blank_before = self.lines_before_next() > 1;
        let mut key = None;
        if in_object {
            let token = self.take();
            key = Some(self.slice(token));
            before.extend(self.comments());
            if self.peek().kind == TokenKind::Colon {
                self.take();
            }
            before.extend(self.comments());
        }
        let value = self.node();
        Item {
            blank_before,
            before,
            key,
            value,
            after: Vec::new(),
        }
    }

    fn node(&mut self) -> Node<'t> {
        let token = self.take();
        match token.kind {
            TokenKind::OpenObject => Node::List(self.list(token, "{", "}", TokenKind::CloseObject)),
            TokenKind::OpenArray => Node::List(self.list(token, "[", "]", TokenKind::CloseArray)),
            _ => Node::Scalar(self.slice(token)),
        }
    }

    fn list(
        &mut self,
        first: Token,
        open: &'static str,
        close: &'static str,
        closing: TokenKind,
    ) -> List<'t> {
        let mut items: Vec<Item<'t>> = Vec::new();
        let mut tail = Vec::new();
        loop {
            let comments = self.comments();
            let kind = self.peek().kind;
            if kind == closing || kind == TokenKind::End {
                tail.extend(comments);
                break;
            }
            let mut item = self.item(comments, closing == TokenKind::CloseObject);
            item.after = self.comments_on_this_line();
            let more = self.comments();
            if self.peek().kind == TokenKind::Comma {
                self.take();
                item.after.extend(self.comments_on_this_line());
            }
            item.before.extend(more);
            items.push(item);
        }
        let last = self.take();
        let inner = self.text.get(first.start..last.end).unwrap_or_default();
        List {
            open,
            close,
            items,
            tail,
            spans_lines: inner.contains('\n'),
        }
    }
}
