//! What a command's output and input carry, and what that costs the server.

use meshd_lab::{Mesh, Result};

use crate::client::{Connection, on_laptop, seconds};
use crate::cpu;
use crate::figures::{TURNS, head, median, row, say};
use crate::server::Server;

/// How much one command carries.
const MEGABYTES: u32 = 256;

/// A file of that size, in memory, on both hosts.
pub(crate) const FILE: &str = "/dev/shm/bulk";

/// The client under a name that is not OpenSSH's. meshd offers ChaCha20 to no OpenSSH where the CPU
/// has AES, as all of them know AES-GCM.
const RENAMED: &str = "/tmp/renamed-ssh";

/// A cipher, and by which client it is asked for.
pub(crate) struct Cipher {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) option: &'static str,
}

/// What is asked for, and what is negotiated when nothing is.
pub(crate) const CIPHERS: [Cipher; 4] = [
    Cipher {
        name: "default",
        program: "ssh",
        option: "",
    },
    Cipher {
        name: "aes128-gcm",
        program: "ssh",
        option: "-c aes128-gcm@openssh.com",
    },
    Cipher {
        name: "aes256-gcm",
        program: "ssh",
        option: "-c aes256-gcm@openssh.com",
    },
    Cipher {
        name: "chacha20",
        program: RENAMED,
        option: "-c chacha20-poly1305@openssh.com",
    },
];

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    prepare(mesh)?;
    head()?;
    for cipher in &CIPHERS {
        say(&negotiated(mesh, cipher)?)?;
        let connections = Connection::open_both(mesh, cipher.program, cipher.option)?;
        let name = cipher.name;
        carry(mesh, &format!("{name} down"), &connections, |options| {
            format!("ssh {options} web1 cat {FILE} >/dev/null")
        })?;
        carry(mesh, &format!("{name} up"), &connections, |options| {
            format!("ssh {options} web1 'cat >/dev/null' <{FILE}")
        })?;
    }
    Ok(())
}

/// The file, and the client of another name.
pub(crate) fn prepare(mesh: &Mesh) -> Result<()> {
    for host in ["laptop", "web1"] {
        mesh.host(host).sh(&format!(
            "head -c {MEGABYTES}M /dev/zero >{FILE}; chmod 644 {FILE}"
        ))?;
    }
    let rename = format!(
        "LC_ALL=C sed 's/OpenSSH_\\([0-9][0-9.]*p\\)/OpenSSX_\\1/g' \"$(command -v ssh)\" >{RENAMED}
        chmod 755 {RENAMED}"
    );
    mesh.host("laptop").sh(&rename).map(drop)
}

/// Which ciphers the client of a row agrees on with each server.
pub(crate) fn negotiated(mesh: &Mesh, cipher: &Cipher) -> Result<String> {
    let asked = Server::BOTH.map(|server| {
        let (program, to, option) = (cipher.program, server.options(), cipher.option);
        let to = to.replace("LogLevel=ERROR", "LogLevel=DEBUG");
        let line = format!(
            "{program} {to} {option} alice@web1 true 2>&1 </dev/null |
             sed -n 's/.*server->client cipher: \\([^ ]*\\).*/\\1/p'"
        );
        Ok(on_laptop(mesh, &line).succeed()?.stdout.trim().to_owned())
    });
    let [ours, theirs] = asked;
    Ok(format!(
        "{} (meshd {}, sshd {})",
        cipher.name, ours?, theirs?
    ))
}

/// Rows of megabytes a second and of the server's CPU time for them.
fn carry(
    mesh: &Mesh,
    what: &str,
    connections: &[Connection; 2],
    line: impl Fn(&str) -> String,
) -> Result<()> {
    let mut speeds = [Vec::new(), Vec::new()];
    let mut costs = [Vec::new(), Vec::new()];
    for turn in 0..=TURNS {
        for (number, connection) in connections.iter().enumerate() {
            let before = cpu::seconds(mesh)?;
            let took = seconds(mesh, &line(connection.options()))?;
            let cost = cpu::seconds(mesh)? - before;
            if turn > 0 {
                speeds[number].push(f64::from(MEGABYTES) / took);
                costs[number].push(cost * 1024.0 / f64::from(MEGABYTES));
            }
        }
    }
    let [ours, theirs] = speeds.map(median);
    row(&format!("  {what}, MiB/s"), (ours, theirs))?;
    let [ours, theirs] = costs.map(median);
    row(&format!("  {what}, CPU s/GiB"), (ours, theirs))
}
