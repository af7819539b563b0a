//! Which host keys ssh believes, by the packages' configuration and by `mesh ssh`.

mod another_key;
mod command;
mod configuration;
mod elsewhere;
mod world;
