//! JSON with comments and trailing commas (<https://github.com/tailscale/hujson>), read with the
//! place of every value.

mod lex;
mod parse;

pub(crate) use lex::{Lexer, Token, TokenKind};

pub(crate) use parse::parse;

/// The longest policy that is read, in bytes.
pub const MAX_POLICY_BYTES: usize = 8 << 20;

/// The deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 64;

/// A value and the byte at which it starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

/// What a value is. A number stays as it is written, since the language has few.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<Member>),
}

/// A key with its value; keys may repeat here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) key_at: usize,
    pub(crate) value: Value,
}

impl Kind {
    /// What to call it in a message.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}
