//! The manager's socket, for as long as this worker lives: it may ask what the connection is,
//! have it ended, and brings what comes of a check; it hears what becomes of the login.

use std::os::fd::{AsFd, OwnedFd};

use meshd_contract::broker::{CheckOutcome, FromManager, ToManager};
use meshd_contract::check::Prompt;
use meshd_contract::login_event::LoginEvent;
use meshd_contract::wire::{self, WireError};
use nix::fcntl::{F_SETFL, OFlag, fcntl};

/// The manager, until it has gone; that is no reason to end the connection.
pub(super) struct Overseer(Option<OwnedFd>);

/// What the manager asks for, or brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Describe,
    End,
    Look,
    Checking(Prompt),
    Checked(CheckOutcome),
}

impl Overseer {
    pub(super) fn new(manager: OwnedFd) -> Self {
        let never_waits = fcntl(&manager, F_SETFL(OFlag::O_NONBLOCK)).is_ok();
        Self(never_waits.then_some(manager))
    }

    /// Nobody.
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.0.as_ref()
    }

    /// The next order, if there is one. A manager that says what no manager says is not listened
    /// to any more; one that is newer may say what is not known here.
    pub(super) fn hear(&mut self) -> Option<Order> {
        let socket = self.0.as_ref()?;
        match wire::receive::<FromManager>(socket.as_fd()) {
            Ok((FromManager::Describe, _)) => Some(Order::Describe),
            Ok((FromManager::End, _)) => Some(Order::End),
            Ok((FromManager::Look, _)) => Some(Order::Look),
            Ok((FromManager::Checking(prompt), _)) => Some(Order::Checking(prompt)),
            Ok((FromManager::Checked(outcome), _)) => Some(Order::Checked(outcome)),
            Ok((FromManager::Unknown, _)) | Err(WireError::WouldBlock) => None,
            Ok((FromManager::Bind | FromManager::Keys, _))
            | Err(
                WireError::Closed
                | WireError::TooLarge
                | WireError::Version(_)
                | WireError::Malformed
                | WireError::Socket(_),
            ) => {
                self.0 = None;
                None
            }
        }
    }

    /// Never waits: a manager that does not read is told nothing.
    pub(super) fn tell(&self, message: &ToManager) {
        if let Some(socket) = &self.0 {
            let _ = wire::send(socket.as_fd(), message, &[]);
        }
    }

    /// Never waits either; the journal has it in any case.
    pub(super) fn happened(&self, event: LoginEvent) {
        self.tell(&ToManager::Login(event.tidied()));
    }
}
