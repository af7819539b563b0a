//! Which of a channel's requests wait for its task, so that none can fill the memory.

use meshd_contract::broker::{Hello, MAX_ENVIRONMENT_VARIABLES};

use super::request::Request;

/// More than any request needs that carries neither a command nor a variable.
const SMALL: usize = 4096;

/// The client's variables that a channel may bring; root sets it.
#[derive(Debug, Clone, Copy)]
pub(super) struct VariableLimits {
    count: usize,
    bytes: usize,
}

impl VariableLimits {
    pub(super) fn of(hello: &Hello) -> Self {
        let size = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            count: size(hello.max_variables).min(MAX_ENVIRONMENT_VARIABLES),
            bytes: size(hello.max_variable_bytes),
        }
    }
}

/// What one channel has asked for so far.
#[derive(Debug)]
pub(super) struct Admission {
    limits: VariableLimits,
    count: usize,
    bytes: usize,
    /// A program was asked for: variables and further programs come too late.
    started: bool,
}

impl Admission {
    pub(super) fn new(limits: VariableLimits) -> Self {
        Self {
            limits,
            count: 0,
            bytes: 0,
            started: false,
        }
    }

    /// What is to wait: the request, or in its place one that is refused in its turn. None where
    /// nobody waits for the refusal.
    pub(super) fn admit(&mut self, request: Request, size: usize, reply: bool) -> Option<Request> {
        let is_permitted = match &request {
            Request::Environment { name, value } => self.admit_variable(name.len() + value.len()),
            Request::Shell | Request::Exec(_) => !std::mem::replace(&mut self.started, true),
            Request::Subsystem(name) if name == b"sftp" => {
                !std::mem::replace(&mut self.started, true)
            }
            _ => size <= SMALL,
        };
        match (is_permitted, reply) {
            (true, _) => Some(request),
            (false, true) => Some(Request::Unknown),
            (false, false) => None,
        }
    }

    fn admit_variable(&mut self, bytes: usize) -> bool {
        let (count, bytes) = (self.count + 1, self.bytes.saturating_add(bytes));
        if self.started || count > self.limits.count || bytes > self.limits.bytes {
            return false;
        }
        (self.count, self.bytes) = (count, bytes);
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The worker's greeting with the usual limits.
    pub(in crate::session) fn hello() -> Hello {
        Hello {
            connection: String::new(),
            host_keys: Vec::new(),
            login_grace: 0,
            answer: 0,
            max_channels: 0,
            max_variables: 128,
            max_variable_bytes: 64 << 10,
            max_forwards: 256,
            connect: 60,
            client_alive_interval: 0,
            client_alive_count_max: 3,
            rekey_bytes: 1 << 30,
            rekey_seconds: 0,
        }
    }

    fn admission(count: u32, bytes: u32) -> Admission {
        Admission::new(VariableLimits::of(&Hello {
            max_variables: count,
            max_variable_bytes: bytes,
            ..hello()
        }))
    }

    fn variable(value: usize) -> Request {
        Request::Environment {
            name: b"A".to_vec(),
            value: vec![b'x'; value],
        }
    }

    #[test]
    fn variables_are_bounded_in_number_and_size() {
        let mut all = admission(2, 100);
        assert_eq!(all.admit(variable(1), 9, false), Some(variable(1)));
        assert_eq!(all.admit(variable(1), 9, false), Some(variable(1)));
        assert_eq!(all.admit(variable(1), 9, false), None);
        assert_eq!(all.admit(variable(1), 9, true), Some(Request::Unknown));
        let mut all = admission(u32::MAX, 100);
        assert_eq!(all.admit(variable(100), 9, false), None);
        assert_eq!(all.admit(variable(99), 9, false), Some(variable(99)));
        let mut all = admission(u32::MAX, u32::MAX);
        let admitted = (0..5000).filter_map(|_| all.admit(variable(1), 9, false));
        assert_eq!(admitted.count(), MAX_ENVIRONMENT_VARIABLES);
    }

    #[test]
    fn one_program_waits() {
        let mut all = admission(9, 99);
        let command = || Request::Exec(vec![b'x'; 1 << 17]);
        let other = Request::Subsystem(b"netconf".to_vec());
        assert_eq!(all.admit(other.clone(), 9, true), Some(other));
        assert_eq!(all.admit(command(), 1 << 17, true), Some(command()));
        assert_eq!(all.admit(command(), 1 << 17, true), Some(Request::Unknown));
        assert_eq!(all.admit(variable(1), 9, false), None);
        let end = Request::EndOfWrite;
        assert_eq!(all.admit(end.clone(), 0, false), Some(end));
    }

    #[test]
    fn a_giant_request_does_not_wait() {
        let mut all = admission(9, 99);
        let signal = || Request::Signal("x".repeat(SMALL + 1));
        assert_eq!(all.admit(signal(), SMALL + 5, false), None);
        assert_eq!(all.admit(signal(), SMALL + 5, true), Some(Request::Unknown));
    }
}
