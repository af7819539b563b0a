//! Server-sent events (the HTML standard, section 9.2), read piece by piece.

use meshd_contract::signed::MAX_DOCUMENT_BYTES;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty where the server gave none.
    pub name: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
    /// The last id that the stream has named, to resume from.
    pub id: String,
}

/// The stream holds an event longer than any document.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Turns pieces of a stream into events.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_return: bool,
    event: Event,
    has_data: bool,
}

impl Parser {
    /// Takes the next piece and returns the events that it completes.
    ///
    /// # Errors
    /// [`TooLong`]; the stream is of no use then.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for byte in piece {
            match byte {
                // Of the two bytes of CR LF the second ends nothing.
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&line));
                }
                _ => {
                    self.after_return = false;
                    self.line.push(*byte);
                }
            }
            if self.line.len() + self.event.data.len() > 2 * MAX_DOCUMENT_BYTES {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            return self.end_event();
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" if !value.contains('\0') => value.clone_into(&mut self.event.id),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // A comment has an empty field name; of others the standard says to ignore them.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let next = Event {
            id: self.event.id.clone(),
            ..Event::default()
        };
        let event = std::mem::replace(&mut self.event, next);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "\u{3a} comment\n\nevent: peers\ndata: meshd-signed 1 peers\ndata: c2ln\n\
                          data: {\"a\": 1}\nid: 5.7\n\nevent:network\r\ndata:x\r\n\r\ndata: last\n\n";

    fn expected() -> Vec<Event> {
        let event = |name: &str, data: &str| Event {
            name: name.to_owned(),
            data: data.to_owned(),
            id: "5.7".to_owned(),
        };
        vec![
            event("peers", "meshd-signed 1 peers\nc2ln\n{\"a\": 1}"),
            event("network", "x"),
            event("", "last"),
        ]
    }

    #[test]
    fn events_have_name_data_and_the_last_id() {
        let events = Parser::default().push(STREAM.as_bytes());
        assert_eq!(events, Ok(expected()));
    }

    #[test]
    fn an_event_without_data_is_none() {
        let events = Parser::default().push(b"event: peers\nid: 1.1\n\n");
        assert_eq!(events, Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(cuts in proptest::collection::vec(1usize..9, 0..60)) {
            let mut parser = Parser::default();
            let mut rest = STREAM.as_bytes();
            let mut events = Vec::new();
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                events.extend(parser.push(piece).expect("is short"));
                rest = more;
            }
            events.extend(parser.push(rest).expect("is short"));
            prop_assert_eq!(events, expected());
        }

        #[test]
        fn no_stream_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Parser::default().push(&bytes).is_ok());
        }
    }
}
