//! Forwards of TCP ports, Unix sockets and agents, with the stock client.

mod agent;
mod limits;
mod local;
mod remote;
mod world;
