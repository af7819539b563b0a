//! What an authentication request of the client leads to.
//!
//! The network has already proved who calls; a method only says how the client wants to ask.
//! Every method is decided alike, by the worker, once for each connection.

/// Ends a login name whose client is confused by a `none` that succeeds: it is then offered the
/// password method only.
const PASSWORD_SUFFIX: &[u8] = b"+password";

/// How the client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// `none`.
    None,
    /// A password; nobody looks at it.
    Password,
    /// A public key without a signature: would it do?
    PublicKeyProbe,
    /// A public key with a signature; nobody looks at it.
    PublicKey,
    /// `keyboard-interactive`.
    KeyboardInteractive,
    /// Any other, which is not served.
    Other,
}

impl Method {
    /// Reads the method's name, and whether a public key comes with a signature.
    pub(super) fn new(name: &str, request: &[u8]) -> Self {
        match name {
            "none" => Self::None,
            "password" => Self::Password,
            "publickey" if request.first() == Some(&0) => Self::PublicKeyProbe,
            "publickey" => Self::PublicKey,
            "keyboard-interactive" => Self::KeyboardInteractive,
            _ => Self::Other,
        }
    }
}

/// What to do about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the worker about this login; the answer is for the newest request.
    Ask(Vec<u8>),
    /// The worker has been asked; its answer is for the newest request.
    Wait,
    /// Accept.
    Accept,
    /// Refuse, and name the methods that may still do.
    Refuse(Methods),
    /// Another login than before: the connection ends.
    OtherLogin,
}

/// Methods that a refused client may go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Methods {
    /// All that are served.
    All,
    /// The client asked for passwords only.
    Password,
}

/// The login of one connection.
#[derive(Debug, Default)]
pub(super) struct Login {
    name: Option<Vec<u8>>,
    asked: bool,
    permitted: bool,
}

impl Login {
    /// Takes the client's next request.
    pub(super) fn request(&mut self, name: &[u8], method: Method) -> Step {
        if self.name.get_or_insert_with(|| name.to_vec()) != name {
            return Step::OtherLogin;
        }
        let (login, methods) = match name.strip_suffix(PASSWORD_SUFFIX) {
            Some(login) => (login, Methods::Password),
            None => (name, Methods::All),
        };
        match method {
            Method::Other => Step::Refuse(methods),
            Method::Password => self.decide(login),
            _ if methods == Methods::Password => Step::Refuse(methods),
            Method::PublicKeyProbe => Step::Accept,
            Method::None | Method::PublicKey | Method::KeyboardInteractive => self.decide(login),
        }
    }

    /// Takes the worker's word that the login is permitted.
    pub(super) fn permit(&mut self) {
        self.permitted = true;
    }

    /// Whether the worker has permitted the login.
    pub(super) fn is_permitted(&self) -> bool {
        self.permitted
    }

    fn decide(&mut self, login: &[u8]) -> Step {
        if self.permitted {
            return Step::Accept;
        }
        if std::mem::replace(&mut self.asked, true) {
            return Step::Wait;
        }
        Step::Ask(login.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_asks_once_and_then_waits() {
        for method in [
            Method::None,
            Method::Password,
            Method::PublicKey,
            Method::KeyboardInteractive,
        ] {
            let mut login = Login::default();
            assert_eq!(
                login.request(b"alice", method),
                Step::Ask(b"alice".to_vec())
            );
            assert_eq!(login.request(b"alice", method), Step::Wait);
            login.permit();
            assert_eq!(login.request(b"alice", method), Step::Accept);
        }
    }

    #[test]
    fn a_probe_is_accepted_without_a_decision() {
        let mut login = Login::default();
        let probe = Method::new("publickey", &[0, 1]);
        assert_eq!(login.request(b"alice", probe), Step::Accept);
        let signed = Method::new("publickey", &[1, 1]);
        assert_eq!(
            login.request(b"alice", signed),
            Step::Ask(b"alice".to_vec())
        );
    }

    #[test]
    fn the_password_suffix_offers_passwords_only() {
        let mut login = Login::default();
        for method in [
            Method::None,
            Method::PublicKeyProbe,
            Method::PublicKey,
            Method::KeyboardInteractive,
        ] {
            let step = login.request(b"alice+password", method);
            assert_eq!(step, Step::Refuse(Methods::Password));
        }
        let step = login.request(b"alice+password", Method::Password);
        assert_eq!(step, Step::Ask(b"alice".to_vec()));
    }

    #[test]
    fn a_second_login_ends_the_connection() {
        let mut login = Login::default();
        login.request(b"alice", Method::None);
        assert_eq!(login.request(b"bob", Method::None), Step::OtherLogin);
        let mut login = Login::default();
        login.request(b"alice+password", Method::None);
        assert_eq!(login.request(b"alice", Method::None), Step::OtherLogin);
    }

    #[test]
    fn other_methods_are_refused() {
        let mut login = Login::default();
        let method = Method::new("hostbased", b"");
        assert_eq!(login.request(b"alice", method), Step::Refuse(Methods::All));
    }
}
