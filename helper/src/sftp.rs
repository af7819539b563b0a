//! The SFTP server: version 3 (draft-ietf-secsh-filexfer-02) with the extensions of OpenSSH's
//! `PROTOCOL`, as the logged-in user.
//!
//! One request after the other, in the order in which they come. What the client does not take
//! waits in one buffer of bounded size; nothing more is read until it has gone.

mod accounts;
mod attributes;
mod buffer;
mod copy;
mod extensions;
mod fields;
mod files;
mod handles;
mod listing;
mod long_name;
mod packets;
mod paths;
mod pipe;
mod real_path;
mod replies;
mod requests;
mod status;

use std::io::{self, Read, Write};

use packets::Packets;
use pipe::Pipe;
use replies::Replies;
use requests::Server;

/// How many bytes of replies are written at once; a longer reply goes as it is.
const ENOUGH: usize = 64 << 10;

/// Serves the client at descriptors 0 and 1 until it closes the first.
///
/// # Errors
/// What cannot be answered (a packet longer than 256 KiB or too short for a number, a request
/// before the client's version), or what the system says of the descriptors.
pub(crate) fn serve() -> io::Result<()> {
    converse(Pipe(io::stdin()), Pipe(io::stdout()))
}

fn converse(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut packets = Packets::of(input);
    let (mut server, mut replies) = (Server::default(), Replies::default());
    loop {
        let answered = answer_all(&mut packets, &mut server, &mut replies, &mut output);
        replies.send(&mut output)?;
        answered?;
        if !packets.fill()? {
            return Ok(());
        }
    }
}

/// Answers every packet that has come.
fn answer_all(
    packets: &mut Packets<impl Read>,
    server: &mut Server,
    replies: &mut Replies,
    output: &mut impl Write,
) -> io::Result<()> {
    while let Some(packet) = packets.next()? {
        server.answer(packet, replies)?;
        if replies.len() >= ENOUGH {
            replies.send(output)?;
        }
    }
    Ok(())
}
