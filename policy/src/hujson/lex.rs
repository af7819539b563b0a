//! Text to tokens, comments included, so that one reader serves the parser and the formatter.

/// A token and the bytes that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    OpenObject,
    CloseObject,
    OpenArray,
    CloseArray,
    Colon,
    Comma,
    /// With its quotes, escapes not looked at.
    Text,
    /// `true`, `null`, a number, or a word that is none of them.
    Word,
    LineComment,
    BlockComment,
    End,
}

/// Where a text ends in the middle of something, or has a byte that nothing starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LexError {
    pub(crate) at: usize,
    pub(crate) message: &'static str,
}

/// Reads tokens one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    /// Starts after a byte order mark, if there is one.
    pub(crate) fn new(text: &'t str) -> Self {
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self { text, at }
    }

    /// The next token, comments included; [`TokenKind::End`] for ever at the end.
    pub(crate) fn next_token(&mut self) -> Result<Token, LexError> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        let start = self.at;
        let Some(first) = bytes.get(start) else {
            return Ok(self.token(TokenKind::End, 0));
        };
        Ok(match first {
            b'{' => self.token(TokenKind::OpenObject, 1),
            b'}' => self.token(TokenKind::CloseObject, 1),
            b'[' => self.token(TokenKind::OpenArray, 1),
            b']' => self.token(TokenKind::CloseArray, 1),
            b':' => self.token(TokenKind::Colon, 1),
            b',' => self.token(TokenKind::Comma, 1),
            b'"' => self.text_token()?,
            b'/' => self.comment()?,
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.' | b'_') => self.word(),
            _ => {
                return Err(LexError {
                    at: start,
                    message: "this character can start nothing here",
                });
            }
        })
    }

    fn token(&mut self, kind: TokenKind, length: usize) -> Token {
        let start = self.at;
        self.at += length;
        Token {
            kind,
            start,
            end: self.at,
        }
    }

    fn text_token(&mut self) -> Result<Token, LexError> {
        let rest = &self.text.as_bytes()[self.at..];
        let mut length = 1;
        loop {
            match rest.get(length) {
                Some(b'"') => return Ok(self.token(TokenKind::Text, length + 1)),
                Some(b'\\') => length += 2,
                Some(b'\n') | None => {
                    return Err(LexError {
                        at: self.at,
                        message: "this string has no closing quote on its line",
                    });
                }
                Some(_) => length += 1,
            }
        }
    }

    fn comment(&mut self) -> Result<Token, LexError> {
        let rest = &self.text[self.at..];
        if rest.starts_with("//") {
            let length = rest.find('\n').unwrap_or(rest.len());
            return Ok(self.token(TokenKind::LineComment, length));
        }
        let error = |message| LexError {
            at: self.at,
            message,
        };
        let body = rest
            .strip_prefix("/*")
            .ok_or_else(|| error("a comment starts with // or /*"))?;
        let length = body
            .find("*/")
            .ok_or_else(|| error("this comment has no closing */"))?;
        Ok(self.token(TokenKind::BlockComment, length + 4))
    }

    fn word(&mut self) -> Token {
        let length = self.text.as_bytes()[self.at..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.' | b'_'))
            .count();
        self.token(TokenKind::Word, length)
    }
}
