//! The terminal that a client describes, and the real one that is set up to match it.

use std::os::fd::BorrowedFd;

use nix::libc;
use nix::sys::termios::BaudRate;
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios,
    cfsetispeed, cfsetospeed, tcgetattr, tcsetattr,
};

nix::ioctl_write_ptr_bad!(
    /// Sets the window's size (tty_ioctl(2)).
    set_window_size,
    libc::TIOCSWINSZ,
    libc::winsize
);
nix::ioctl_write_int_bad!(
    /// Sends a break (tty_ioctl(2)).
    send_break,
    libc::TCSBRKP
);

/// A window's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    /// In characters.
    pub(super) columns: u32,
    /// In characters.
    pub(super) rows: u32,
    /// In pixels.
    pub(super) width: u32,
    /// In pixels.
    pub(super) height: u32,
}

impl Size {
    /// Gives the terminal behind `master` this size. A terminal that is gone is no error.
    pub(super) fn apply(self, master: BorrowedFd<'_>) {
        let clamp = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let size = libc::winsize {
            ws_row: clamp(self.rows),
            ws_col: clamp(self.columns),
            ws_xpixel: clamp(self.width),
            ws_ypixel: clamp(self.height),
        };
        // SAFETY: TIOCSWINSZ reads one winsize, which lives until the call returns.
        let _ =
            unsafe { set_window_size(std::os::fd::AsRawFd::as_raw_fd(&master), &raw const size) };
    }
}

/// Sends a break to the terminal behind `master`.
pub(super) fn interrupt(master: BorrowedFd<'_>, milliseconds: u32) {
    let deciseconds = i32::try_from(milliseconds / 100).unwrap_or(0).clamp(0, 30);
    // SAFETY: TCSBRKP takes a number and touches no memory.
    let _ = unsafe { send_break(std::os::fd::AsRawFd::as_raw_fd(&master), deciseconds) };
}

/// The modes of a client's terminal (RFC 4254, section 8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Modes(Vec<(u8, u32)>);

impl Modes {
    /// Reads encoded modes, up to the end or the first that has another form (opcodes from 160).
    pub(super) fn parse(mut encoded: &[u8]) -> Self {
        let mut modes = Vec::new();
        while let Some((&opcode @ 1..160, rest)) = encoded.split_first() {
            let Some((argument, rest)) = rest.split_first_chunk() else {
                break;
            };
            modes.push((opcode, u32::from_be_bytes(*argument)));
            encoded = rest;
        }
        Self(modes)
    }

    /// Sets the terminal behind `master` up. A terminal that is gone is no error.
    pub(super) fn apply(&self, master: BorrowedFd<'_>) {
        if let Ok(mut termios) = tcgetattr(master) {
            self.change(&mut termios);
            let _ = tcsetattr(master, SetArg::TCSANOW, &termios);
        }
    }

    fn change(&self, termios: &mut Termios) {
        for &(opcode, argument) in &self.0 {
            change_one(termios, opcode, argument);
        }
    }
}

/// What an opcode stands for.
enum Mode {
    Character(SpecialCharacterIndices),
    Input(InputFlags),
    Local(LocalFlags),
    Output(OutputFlags),
    Control(ControlFlags),
}

fn change_one(termios: &mut Termios, opcode: u8, argument: u32) {
    const INPUT_SPEED: u8 = 128;
    const OUTPUT_SPEED: u8 = 129;
    let on = argument != 0;
    match mode(opcode) {
        Some(Mode::Character(index)) => {
            // RFC 4254: 255 stands for a character that is not there.
            let character = u8::try_from(argument).unwrap_or(u8::MAX);
            let disabled = libc::_POSIX_VDISABLE;
            termios.control_chars[index as usize] = if character == u8::MAX {
                disabled
            } else {
                character
            };
        }
        Some(Mode::Input(flag)) => termios.input_flags.set(flag, on),
        Some(Mode::Local(flag)) => termios.local_flags.set(flag, on),
        Some(Mode::Output(flag)) => termios.output_flags.set(flag, on),
        Some(Mode::Control(ControlFlags::CS7)) => {
            set_character_size(termios, ControlFlags::CS7, on)
        }
        Some(Mode::Control(ControlFlags::CS8)) => {
            set_character_size(termios, ControlFlags::CS8, on)
        }
        Some(Mode::Control(flag)) => termios.control_flags.set(flag, on),
        None => match opcode {
            INPUT_SPEED => drop(cfsetispeed(termios, speed(argument))),
            OUTPUT_SPEED => drop(cfsetospeed(termios, speed(argument))),
            _ => {}
        },
    }
}

/// CS7 and CS8 are values of one field: neither may leave bits of the other.
fn set_character_size(termios: &mut Termios, size: ControlFlags, on: bool) {
    if on {
        termios.control_flags.remove(ControlFlags::CSIZE);
        termios.control_flags.insert(size);
    }
}

/// The opcodes of RFC 4254, section 8, and IUTF8 of RFC 8160. Linux has no VDSYNC, VFLUSH,
/// VSTATUS, and takes VSWTCH as VSWTC.
fn mode(opcode: u8) -> Option<Mode> {
    use SpecialCharacterIndices as Index;
    Some(match opcode {
        1 => Mode::Character(Index::VINTR),
        2 => Mode::Character(Index::VQUIT),
        3 => Mode::Character(Index::VERASE),
        4 => Mode::Character(Index::VKILL),
        5 => Mode::Character(Index::VEOF),
        6 => Mode::Character(Index::VEOL),
        7 => Mode::Character(Index::VEOL2),
        8 => Mode::Character(Index::VSTART),
        9 => Mode::Character(Index::VSTOP),
        10 => Mode::Character(Index::VSUSP),
        12 => Mode::Character(Index::VREPRINT),
        13 => Mode::Character(Index::VWERASE),
        14 => Mode::Character(Index::VLNEXT),
        16 => Mode::Character(Index::VSWTC),
        18 => Mode::Character(Index::VDISCARD),
        30 => Mode::Input(InputFlags::IGNPAR),
        31 => Mode::Input(InputFlags::PARMRK),
        32 => Mode::Input(InputFlags::INPCK),
        33 => Mode::Input(InputFlags::ISTRIP),
        34 => Mode::Input(InputFlags::INLCR),
        35 => Mode::Input(InputFlags::IGNCR),
        36 => Mode::Input(InputFlags::ICRNL),
        // IUCLC, XCASE and OLCUC have no name in nix.
        37 => Mode::Input(InputFlags::from_bits_retain(libc::IUCLC)),
        38 => Mode::Input(InputFlags::IXON),
        39 => Mode::Input(InputFlags::IXANY),
        40 => Mode::Input(InputFlags::IXOFF),
        41 => Mode::Input(InputFlags::IMAXBEL),
        42 => Mode::Input(InputFlags::IUTF8),
        50 => Mode::Local(LocalFlags::ISIG),
        51 => Mode::Local(LocalFlags::ICANON),
        52 => Mode::Local(LocalFlags::from_bits_retain(libc::XCASE)),
        53 => Mode::Local(LocalFlags::ECHO),
        54 => Mode::Local(LocalFlags::ECHOE),
        55 => Mode::Local(LocalFlags::ECHOK),
        56 => Mode::Local(LocalFlags::ECHONL),
        57 => Mode::Local(LocalFlags::NOFLSH),
        58 => Mode::Local(LocalFlags::TOSTOP),
        59 => Mode::Local(LocalFlags::IEXTEN),
        60 => Mode::Local(LocalFlags::ECHOCTL),
        61 => Mode::Local(LocalFlags::ECHOKE),
        62 => Mode::Local(LocalFlags::PENDIN),
        70 => Mode::Output(OutputFlags::OPOST),
        71 => Mode::Output(OutputFlags::OLCUC),
        72 => Mode::Output(OutputFlags::ONLCR),
        73 => Mode::Output(OutputFlags::OCRNL),
        74 => Mode::Output(OutputFlags::ONOCR),
        75 => Mode::Output(OutputFlags::ONLRET),
        90 => Mode::Control(ControlFlags::CS7),
        91 => Mode::Control(ControlFlags::CS8),
        92 => Mode::Control(ControlFlags::PARENB),
        93 => Mode::Control(ControlFlags::PARODD),
        _ => return None,
    })
}

/// One that Linux has no name for is taken for 9600, as sshd takes it.
fn speed(bits_per_second: u32) -> BaudRate {
    match bits_per_second {
        0 => BaudRate::B0,
        50 => BaudRate::B50,
        75 => BaudRate::B75,
        110 => BaudRate::B110,
        134 => BaudRate::B134,
        150 => BaudRate::B150,
        200 => BaudRate::B200,
        300 => BaudRate::B300,
        600 => BaudRate::B600,
        1200 => BaudRate::B1200,
        1800 => BaudRate::B1800,
        2400 => BaudRate::B2400,
        4800 => BaudRate::B4800,
        9600 => BaudRate::B9600,
        19200 => BaudRate::B19200,
        38400 => BaudRate::B38400,
        57600 => BaudRate::B57600,
        115_200 => BaudRate::B115200,
        230_400 => BaudRate::B230400,
        _ => BaudRate::B9600,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn encoded(modes: &[(u8, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (opcode, argument) in modes {
            bytes.push(*opcode);
            bytes.extend(argument.to_be_bytes());
        }
        bytes.push(0);
        bytes
    }

    fn applied(modes: &[(u8, u32)]) -> Termios {
        let pty = nix::pty::openpty(None, None).expect("a pty");
        Modes::parse(&encoded(modes)).apply(pty.master.as_fd());
        tcgetattr(&pty.slave).expect("the terminal's modes")
    }

    #[test]
    fn flags_are_set_and_cleared() {
        let termios = applied(&[(53, 0), (38, 0), (42, 1), (72, 0), (33, 1)]);
        assert!(!termios.local_flags.contains(LocalFlags::ECHO));
        assert!(!termios.input_flags.contains(InputFlags::IXON));
        assert!(
            termios
                .input_flags
                .contains(InputFlags::IUTF8 | InputFlags::ISTRIP)
        );
        assert!(!termios.output_flags.contains(OutputFlags::ONLCR));
    }

    #[test]
    fn characters_are_set_and_255_takes_one_away() {
        let termios = applied(&[(1, 7), (5, 255)]);
        let character = |index: SpecialCharacterIndices| termios.control_chars[index as usize];
        assert_eq!(character(SpecialCharacterIndices::VINTR), 7);
        assert_eq!(
            character(SpecialCharacterIndices::VEOF),
            libc::_POSIX_VDISABLE
        );
    }

    #[test]
    fn an_unknown_mode_does_not_hide_the_next() {
        let termios = applied(&[(99, 1), (53, 0)]);
        assert!(!termios.local_flags.contains(LocalFlags::ECHO));
    }

    #[test]
    fn speeds_are_set() {
        let termios = applied(&[(128, 9600), (129, 9600)]);
        assert_eq!(nix::sys::termios::cfgetospeed(&termios), BaudRate::B9600);
    }

    #[test]
    fn parsing_ends_at_the_end_and_at_what_has_another_form() {
        let cut = [53, 0, 0];
        assert_eq!(Modes::parse(&cut), Modes::default());
        let ended = encoded(&[(53, 1)]);
        assert_eq!(Modes::parse(&ended), Modes(vec![(53, 1)]));
        assert_eq!(Modes::parse(&[160, 0, 0, 0, 0]), Modes::default());
    }

    #[test]
    fn a_size_reaches_the_terminal() {
        let pty = nix::pty::openpty(None, None).expect("a pty");
        let size = Size {
            columns: 132,
            rows: 50,
            width: 70_000,
            height: 600,
        };
        size.apply(pty.master.as_fd());
        let mut found = libc::winsize {
            ws_row: 0,
            ws_col: 0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        nix::ioctl_read_bad!(window_size, libc::TIOCGWINSZ, libc::winsize);
        // SAFETY: TIOCGWINSZ writes one winsize.
        unsafe { window_size(std::os::fd::AsRawFd::as_raw_fd(&pty.slave), &raw mut found) }
            .expect("a size");
        assert_eq!((found.ws_col, found.ws_row), (132, 50));
        assert_eq!((found.ws_xpixel, found.ws_ypixel), (u16::MAX, 600));
    }
}
