//! What people run over ssh.

mod editors;
mod files;
mod laptop;
mod multiplexing;
mod sockets;
mod terminals;
