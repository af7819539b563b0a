//! The manual pages and what shells complete, held against the programs.

mod commands;
mod completions;
mod manual;
mod references;
