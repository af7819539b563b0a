//! `make bench`: logins through the mesh, beside sshd on the same host with the same PAM stack;
//! without pam_systemd, and with it on a host with systemd.

mod memory;
mod sshd;
mod steps;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use meshd_lab::{DEADLINE, HostCommand, Kind, LabError, Mesh, Result, policy_for_alice};

const LOGINS: u32 = 30;
const AT_ONCE: u32 = 8;
const CUTS: usize = 9;
const LONG: Duration = Duration::from_secs(300);

/// Who serves a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Meshd,
    Sshd,
}

fn main() -> ExitCode {
    let measured = measure(Kind::Plain).and_then(|()| measure(Kind::Booted));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(kind: Kind) -> Result<()> {
    let began = Instant::now();
    let mesh = match kind {
        Kind::Plain => Mesh::of_two()?,
        Kind::Booted => Mesh::of_two_booted()?,
    };
    say(match kind {
        Kind::Plain => "Without pam_systemd",
        Kind::Booted => "\nWith systemd, logind and pam_systemd",
    })?;
    let started = began.elapsed().as_secs_f32();
    say(&format!("start of the mesh, s       {started:8.2}"))?;
    let _sshd = sshd::start(&mesh)?;
    say("                              meshd       sshd      ratio")?;
    let (ours, theirs) = login_times(&mesh)?;
    row("one login, ms (median)", ours, theirs)?;
    let ours = logins_per_second(&mesh, Server::Meshd)?;
    let theirs = logins_per_second(&mesh, Server::Sshd)?;
    row("logins/s, 8 at once", ours, theirs)?;
    let ours = memory::kilobytes_per_session(&mesh, Server::Meshd)?;
    let theirs = memory::kilobytes_per_session(&mesh, Server::Sshd)?;
    row("PSS per idle session, kB", ours, theirs)?;
    say("where one login's time goes, ms (medians):")?;
    let ours = steps::medians(&mesh, Server::Meshd)?;
    let theirs = steps::medians(&mesh, Server::Sshd)?;
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        row(&format!("  {name}"), *ours, *theirs)?;
    }
    if kind == Kind::Plain {
        let cuts = median(cut_times(&mesh)?);
        say(&format!(
            "policy saved to session ended, ms (median) {cuts:8.0}"
        ))?;
    }
    Ok(())
}

impl Server {
    /// The words of `ssh alice@web1` by way of this server. Host keys are not what is compared.
    fn ssh(self) -> String {
        let common = "ssh -o BatchMode=yes -o LogLevel=ERROR -o StrictHostKeyChecking=no \
                      -o UserKnownHostsFile=/dev/null -o KnownHostsCommand=none";
        match self {
            Self::Meshd => format!("{common} alice@web1"),
            Self::Sshd => format!("{common} -p {} -i {} alice@web1", sshd::PORT, sshd::KEY),
        }
    }

    /// Whether a process on web1 is one of this server's.
    fn owns(self, process: &str) -> bool {
        match self {
            Self::Meshd => process.starts_with("meshd"),
            Self::Sshd => process == "sshd",
        }
    }
}

fn on_laptop(mesh: &Mesh, script: &str) -> HostCommand {
    let shell = mesh.host("laptop").command("bash");
    shell.args(["-c", script]).deadline(LONG)
}

/// One login after the other, by turns, so that both meet the same load of the machine.
fn login_times(mesh: &Mesh) -> Result<(f64, f64)> {
    let (ours, theirs) = (Server::Meshd.ssh(), Server::Sshd.ssh());
    let script = format!(
        "took() {{ local from=$EPOCHREALTIME; \"$@\" </dev/null || exit 1; \
         local to=$EPOCHREALTIME; echo $((${{to/./}} - ${{from/./}})); }}; \
         for i in {{0..{LOGINS}}}; do took {ours} true; took {theirs} true; done"
    );
    let output = on_laptop(mesh, &script).succeed()?;
    let micros: Vec<f64> = output
        .stdout
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect();
    let every_second = |first: usize| {
        let taken = micros.iter().skip(first + 2).step_by(2);
        median(taken.map(|micros| micros / 1000.0).collect())
    };
    Ok((every_second(0), every_second(1)))
}

fn logins_per_second(mesh: &Mesh, server: Server) -> Result<f64> {
    let (logins, ssh) = (LOGINS * 4, server.ssh());
    let script = format!("seq {logins} | xargs -P {AT_ONCE} -I+ {ssh} true");
    let took = on_laptop(mesh, &script).succeed()?.took;
    Ok(f64::from(logins) / took.as_secs_f64())
}

fn cut_times(mesh: &Mesh) -> Result<Vec<f64>> {
    (0..CUTS)
        .map(|_| {
            mesh.host("web1").sh("rm -f /tmp/there")?;
            let mut ssh = mesh
                .ssh("laptop", &["alice@web1", "touch /tmp/there; sleep 1000"])
                .spawn()?;
            mesh.wait_for_file("web1", "/tmp/there")?;
            let saving = Instant::now();
            mesh.set_policy(&policy_for_alice(&[]))?;
            ssh.wait(DEADLINE)?;
            let took = saving.elapsed().as_secs_f64() * 1000.0;
            mesh.change_policy(&policy_for_alice(&["alice"]))?;
            mesh.wait_until_empty("web1", "alice")?;
            Ok(took)
        })
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn row(what: &str, ours: f64, theirs: f64) -> Result<()> {
    say(&format!(
        "{what:27}{ours:8.1}   {theirs:8.1}   {:8.2}",
        ours / theirs
    ))
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|error| LabError::system("write", error))
}
