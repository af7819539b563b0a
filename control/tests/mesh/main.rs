//! Control as nodes and admins see it: the built program, over HTTPS and its socket.

mod admins;
mod api;
mod audit;
mod backups;
mod commands;
mod crashes;
mod fleet;
mod harness;
mod joining;
mod keys;
mod leaving;
mod life;
mod requests;
mod streams;
mod web;
