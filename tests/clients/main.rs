//! Stock SSH clients, as people use them: each logs in without a key or a flag, runs a command
//! with its streams and exit status, transfers files, and shows why it is denied.

mod ansible;
mod audit;
mod host_keys;
mod libraries;
mod new_keys;
mod on_the_command_line;
mod stock;
