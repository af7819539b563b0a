//! Control as nodes and admins see it: the built program, over HTTPS and its socket.

mod harness;
mod joining;
