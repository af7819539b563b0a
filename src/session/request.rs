//! Channel requests, read from their bytes (RFC 4254, sections 6.2 to 6.10).

use super::terminal::{Modes, Size};

/// What a client asks of a session channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// `pty-req`.
    Pty {
        /// The terminal's type.
        term: Vec<u8>,
        /// Its size.
        size: Size,
        /// Its modes.
        modes: Modes,
    },
    /// `env`.
    Environment {
        /// The variable's name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// `shell`.
    Shell,
    /// `exec`.
    Exec(Vec<u8>),
    /// `subsystem`.
    Subsystem(Vec<u8>),
    /// `window-change`.
    WindowChange(Size),
    /// `signal`, without `SIG`.
    Signal(String),
    /// `break`, with its length in milliseconds (RFC 4335).
    Break(u32),
    /// The client takes no more output.
    EndOfWrite,
    /// `auth-agent-req@openssh.com`.
    Agent,
    /// Any other, and any that cannot be read.
    Unknown,
}

impl Request {
    /// Reads the fields of the request called `name`.
    pub(super) fn parse(name: &str, fields: &[u8]) -> Self {
        let mut reader = Reader(fields);
        Self::read(name, &mut reader)
            .filter(|_| reader.0.is_empty())
            .unwrap_or(Self::Unknown)
    }

    fn read(name: &str, reader: &mut Reader<'_>) -> Option<Self> {
        Some(match name {
            "pty-req" => Self::Pty {
                term: reader.string()?.to_vec(),
                size: reader.size()?,
                modes: Modes::parse(reader.string()?),
            },
            "env" => Self::Environment {
                name: reader.string()?.to_vec(),
                value: reader.string()?.to_vec(),
            },
            "shell" => Self::Shell,
            "exec" => Self::Exec(reader.string()?.to_vec()),
            "subsystem" => Self::Subsystem(reader.string()?.to_vec()),
            "window-change" => Self::WindowChange(reader.size()?),
            "signal" => Self::Signal(String::from_utf8(reader.string()?.to_vec()).ok()?),
            "break" => Self::Break(reader.number()?),
            "eow@openssh.com" => Self::EndOfWrite,
            "auth-agent-req@openssh.com" => Self::Agent,
            _ => return None,
        })
    }
}

/// The rest of a message (RFC 4251, section 5).
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(fields: &'a [u8]) -> Self {
        Self(fields)
    }

    /// A string that is UTF-8.
    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.string()?.to_vec()).ok()
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    fn size(&mut self) -> Option<Size> {
        Some(Size {
            columns: self.number()?,
            rows: self.number()?,
            width: self.number()?,
            height: self.number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        let mut field = (bytes.len() as u32).to_be_bytes().to_vec();
        field.extend(bytes);
        field
    }

    #[test]
    fn variables_and_commands_are_bytes() {
        let fields = [string(b"LC_X"), string(b"a\xff")].concat();
        assert_eq!(
            Request::parse("env", &fields),
            Request::Environment {
                name: b"LC_X".to_vec(),
                value: b"a\xff".to_vec()
            }
        );
        assert_eq!(
            Request::parse("exec", &string(b"\xff\0")),
            Request::Exec(b"\xff\0".to_vec())
        );
    }

    #[test]
    fn a_terminal_has_size_and_pixels() {
        let mut fields = string(b"xterm");
        for number in [80_u32, 24, 640, 480] {
            fields.extend(number.to_be_bytes());
        }
        fields.extend(string(&[0]));
        let Request::Pty { term, size, .. } = Request::parse("pty-req", &fields) else {
            panic!("no pty-req");
        };
        assert_eq!(term, b"xterm");
        assert_eq!((size.columns, size.rows), (80, 24));
        assert_eq!((size.width, size.height), (640, 480));
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let mut trailing = string(b"true");
        trailing.push(0);
        assert_eq!(Request::parse("exec", &trailing), Request::Unknown);
        assert_eq!(Request::parse("exec", &[0, 0, 0, 9, 1]), Request::Unknown);
        assert_eq!(Request::parse("signal", &string(b"\xff")), Request::Unknown);
        assert_eq!(Request::parse("x11-req", &[]), Request::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn no_request_panics(
            name in "pty-req|env|exec|window-change|signal|break",
            fields in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
        ) {
            let _ = Request::parse(&name, &fields);
        }
    }
}
