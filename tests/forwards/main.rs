//! Forwards of TCP ports, Unix sockets and agents, with the stock client.

mod agent;
mod bounds;
mod ended;
mod halves;
mod limits;
mod local;
mod places;
mod remote;
mod world;
