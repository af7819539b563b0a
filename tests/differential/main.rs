//! The same account through sshd and through meshd, on the same host: a session is the same, but
//! for what [`differences::TABLE`] says, and so is every answer, but for [`answers::TABLE`].

mod answers;
mod differences;
mod forwards;
mod refusals;
mod servers;
mod sessions;
mod sitting;
