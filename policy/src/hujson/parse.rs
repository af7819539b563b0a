//! Tokens to a [`Value`].

use super::lex::{LexError, Lexer, Token, TokenKind};
use super::{Kind, MAX_DEPTH, MAX_POLICY_BYTES, Member, Value};
use crate::problem::{Position, Problem};

/// Reads one value and nothing after it but comments.
///
/// # Errors
/// The first thing that is not HuJSON, or a text beyond [`MAX_POLICY_BYTES`] or [`MAX_DEPTH`].
pub(crate) fn parse(text: &str) -> Result<Value, Problem> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(problem(
            text,
            0,
            format!("the policy is longer than {MAX_POLICY_BYTES} bytes"),
            "",
        ));
    }
    let mut parser = Parser {
        text,
        lexer: Lexer::new(text),
    };
    let first = parser.next()?;
    let value = parser.value(first, 0)?;
    let rest = parser.next()?;
    if rest.kind == TokenKind::End {
        Ok(value)
    } else {
        Err(parser.unexpected(rest, "the end of the file"))
    }
}

fn problem(text: &str, at: usize, message: String, help: &str) -> Problem {
    Problem {
        position: Position::of(text, at),
        path: String::new(),
        message,
        help: help.to_owned(),
    }
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
}

impl Parser<'_> {
    /// The next token that is no comment.
    fn next(&mut self) -> Result<Token, Problem> {
        loop {
            let token = self
                .lexer
                .next_token()
                .map_err(|LexError { at, message }| {
                    problem(self.text, at, message.to_owned(), "")
                })?;
            if !matches!(token.kind, TokenKind::LineComment | TokenKind::BlockComment) {
                return Ok(token);
            }
        }
    }

    fn unexpected(&self, token: Token, wanted: &str) -> Problem {
        let found = match token.kind {
            TokenKind::End => "the end of the file".to_owned(),
            _ => format!("{:?}", shortened(&self.text[token.start..token.end])),
        };
        let help = match token.kind {
            TokenKind::Text | TokenKind::OpenObject | TokenKind::OpenArray => {
                "put a comma between two items and a colon after a key"
            }
            TokenKind::Word => "put strings in double quotes",
            _ => "",
        };
        problem(
            self.text,
            token.start,
            format!("{found} stands where {wanted} must be"),
            help,
        )
    }

    fn value(&mut self, token: Token, depth: usize) -> Result<Value, Problem> {
        if depth > MAX_DEPTH {
            return Err(problem(
                self.text,
                token.start,
                format!("lists and objects are nested more than {MAX_DEPTH} deep"),
                "",
            ));
        }
        let kind = match token.kind {
            TokenKind::OpenObject => self.object(depth)?,
            TokenKind::OpenArray => self.array(depth)?,
            TokenKind::Text => Kind::Text(self.string(token)?),
            TokenKind::Word => self.word(token)?,
            _ => return Err(self.unexpected(token, "a value")),
        };
        Ok(Value {
            at: token.start,
            kind,
        })
    }

    fn object(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut members = Vec::new();
        loop {
            let key = self.next()?;
            match key.kind {
                TokenKind::CloseObject => return Ok(Kind::Object(members)),
                TokenKind::Text => {}
                _ => return Err(self.unexpected(key, "a key or }")),
            }
            let colon = self.next()?;
            if colon.kind != TokenKind::Colon {
                return Err(self.unexpected(colon, "a colon"));
            }
            let first = self.next()?;
            members.push(Member {
                key: self.string(key)?,
                key_at: key.start,
                value: self.value(first, depth + 1)?,
            });
            if self.ends(TokenKind::CloseObject, "a comma or }")? {
                return Ok(Kind::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut items = Vec::new();
        loop {
            let first = self.next()?;
            if first.kind == TokenKind::CloseArray {
                return Ok(Kind::Array(items));
            }
            items.push(self.value(first, depth + 1)?);
            if self.ends(TokenKind::CloseArray, "a comma or ]")? {
                return Ok(Kind::Array(items));
            }
        }
    }

    /// Whether the closing token follows, rather than a comma.
    fn ends(&mut self, close: TokenKind, wanted: &str) -> Result<bool, Problem> {
        let token = self.next()?;
        if token.kind == close {
            Ok(true)
        } else if token.kind == TokenKind::Comma {
            Ok(false)
        } else {
            Err(self.unexpected(token, wanted))
        }
    }

    fn word(&self, token: Token) -> Result<Kind, Problem> {
        let word = &self.text[token.start..token.end];
        match word {
            "null" => Ok(Kind::Null),
            "true" => Ok(Kind::Bool(true)),
            "false" => Ok(Kind::Bool(false)),
            _ if serde_json::from_str::<serde_json::Number>(word).is_ok() => {
                Ok(Kind::Number(word.to_owned()))
            }
            _ => Err(self.unexpected(token, "a value")),
        }
    }

    fn string(&self, token: Token) -> Result<String, Problem> {
        serde_json::from_str(&self.text[token.start..token.end]).map_err(|_| {
            problem(
                self.text,
                token.start,
                "this is no JSON string".to_owned(),
                "write \\ as \\\\ and control characters as \\u followed by four hex digits",
            )
        })
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse(text).expect_err("no HuJSON").to_string()
    }

    #[test]
    fn comments_and_trailing_commas_are_permitted() {
        let text =
            "// one\n{ /* two */ \"a\": [1, true, null,], // three\n \"b\": \"x\",\n}\n// end";
        let Kind::Object(members) = parse(text).expect("HuJSON").kind else {
            panic!("an object");
        };
        assert_eq!(members[0].key, "a");
        assert_eq!(members[1].value.kind, Kind::Text("x".to_owned()));
        assert_eq!(&text[members[1].value.at..=members[1].value.at], "\"");
    }

    #[test]
    fn comment_marks_inside_strings_are_text() {
        let value = parse(r#""http://x /* y */""#).expect("HuJSON");
        assert_eq!(value.kind, Kind::Text("http://x /* y */".to_owned()));
    }

    #[test]
    fn errors_say_where_and_what() {
        for (text, start) in [
            (
                "",
                "line 1, column 1: the end of the file stands where a value must be",
            ),
            (
                "{\n \"a\" 1}",
                "line 2, column 6: \"1\" stands where a colon must be",
            ),
            (
                "[1 2]",
                "line 1, column 4: \"2\" stands where a comma or ] must be",
            ),
            (
                "[1,,2]",
                "line 1, column 4: \",\" stands where a value must be",
            ),
            (
                "{a: 1}",
                "line 1, column 2: \"a\" stands where a key or } must be",
            ),
            ("\"a", "line 1, column 1: this string has no closing quote"),
            ("/* a", "line 1, column 1: this comment has no closing */"),
            (
                "[1] x",
                "line 1, column 5: \"x\" stands where the end of the file must be",
            ),
            ("\"\\x\"", "line 1, column 1: this is no JSON string"),
            ("é", "line 1, column 1: this character"),
            ("0x1", "line 1, column 1: \"0x1\" stands"),
        ] {
            assert!(
                message(text).starts_with(start),
                "{text}: {}",
                message(text)
            );
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(&deep(MAX_DEPTH)).is_ok());
        assert!(message(&deep(100_000)).contains("nested"));
    }
}
