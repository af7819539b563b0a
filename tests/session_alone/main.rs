//! The session process with the stock OpenSSH client on one side and a worker of this test on the
//! other. Needs root, to start it as its worker does; nothing outside the processes changes.

mod authentication;
mod client;
mod ending;
mod fuzz;
mod library;
mod limits;
mod local_terminal;
mod programs;
mod several_sessions;
mod silence;
mod started;
mod starting;
mod terminals;
mod worker;
