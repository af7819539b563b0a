//! `make bench`: what a session through the mesh costs and carries, beside sshd on the same host.
//!
//! `bench` measures every table, `bench NAME...` those named; `bench list` names them.

mod ansible;
mod bulk;
mod checks;
mod client;
mod cpu;
mod cuts;
mod figures;
mod files;
mod forwards;
mod keys;
mod logins;
mod memory;
mod server;
mod short_way;
mod sshd;
mod steps;
mod streams;
mod tunnel;

use std::io::{self, Write};
use std::process::ExitCode;

use meshd_lab::{LabError, Mesh, Result};

use figures::say;

/// On which hosts a table is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Without systemd, through WireGuard.
    Plain,
    /// With systemd, logind and pam_systemd, through WireGuard.
    Booted,
    /// Without systemd, past WireGuard ([`short_way`]).
    Short,
}

struct Table {
    name: &'static str,
    place: Place,
    measure: fn(&Mesh) -> Result<()>,
}

const TABLES: [Table; 12] = [
    table("logins", Place::Plain, logins::measure),
    table("steps", Place::Plain, steps::measure),
    table("checks", Place::Plain, checks::measure),
    table("cuts", Place::Plain, cuts::measure),
    table("tunnel", Place::Plain, tunnel::measure),
    table("ansible", Place::Plain, ansible::measure),
    table("bulk", Place::Short, bulk::measure),
    table("files", Place::Short, files::measure),
    table("forwards", Place::Short, forwards::measure),
    table("keys", Place::Short, keys::measure),
    table("booted-logins", Place::Booted, logins::measure),
    table("booted-steps", Place::Booted, steps::measure),
];

const fn table(name: &'static str, place: Place, measure: fn(&Mesh) -> Result<()>) -> Table {
    Table {
        name,
        place,
        measure,
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match run(&wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &[String]) -> Result<()> {
    let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
    let words = format!("the tables are: {}", names.join(", "));
    if wanted == ["list"] {
        return say(&words);
    }
    if !wanted.iter().all(|name| names.contains(&name.as_str())) {
        return Err(LabError::Failed(words));
    }
    for place in [Place::Plain, Place::Short, Place::Booted] {
        let here = TABLES.iter().filter(|table| table.place == place);
        let named = |table: &&Table| wanted.is_empty() || wanted.iter().any(|n| n == table.name);
        let tables: Vec<_> = here.filter(named).collect();
        if !tables.is_empty() {
            measure_at(place, &tables)?;
        }
    }
    Ok(())
}

fn measure_at(place: Place, tables: &[&Table]) -> Result<()> {
    let mesh = match place {
        Place::Plain | Place::Short => Mesh::of_two()?,
        Place::Booted => Mesh::of_two_booted()?,
    };
    let _sshd = sshd::start(&mesh)?;
    if place == Place::Short {
        short_way::open(&mesh)?;
    }
    for table in tables {
        say("")?;
        say(&format!("{}: {}", table.name, place.words()))?;
        (table.measure)(&mesh)?;
    }
    Ok(())
}

impl Place {
    fn words(self) -> &'static str {
        match self {
            Self::Plain => "through userspace WireGuard, PAM without pam_systemd",
            Self::Booted => "through userspace WireGuard, PAM with pam_systemd",
            Self::Short => "to the mesh address past WireGuard, PAM without pam_systemd",
        }
    }
}
