//! `make bench`: logins through the mesh, beside sshd on the same hosts with the same PAM stack.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use meshd_lab::{DEADLINE, Daemon, LabError, Mesh, Result, Running, policy_for_alice};

/// Where sshd listens on web1, so that its connections go through the same tunnel.
const SSHD_PORT: &str = "2222";
const LOGINS: u32 = 30;
const AT_ONCE: u32 = 8;
const IDLE: usize = 10;
const CUTS: usize = 9;
const LONG: Duration = Duration::from_secs(300);

/// What both servers are asked with: host keys are not what is compared.
const COMMON: &str = "-o BatchMode=yes -o LogLevel=ERROR -o StrictHostKeyChecking=no \
                      -o UserKnownHostsFile=/dev/null -o KnownHostsCommand=none";

fn main() -> ExitCode {
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<()> {
    let began = Instant::now();
    let mesh = Mesh::of_two()?;
    say(&format!(
        "start of the mesh       {:8.2} s",
        began.elapsed().as_secs_f32()
    ))?;
    let _sshd = start_sshd(&mesh)?;
    let meshd = format!("ssh {COMMON} alice@web1");
    let sshd = format!("ssh {COMMON} -p {SSHD_PORT} -i /root/key alice@web1");
    say("                           meshd       sshd      ratio")?;
    let (ours, theirs) = login_times(&mesh, &meshd, &sshd)?;
    row("one login, ms (median)", ours, theirs)?;
    let ours = logins_per_second(&mesh, &meshd)?;
    row(
        "logins/s, 8 at once",
        ours,
        logins_per_second(&mesh, &sshd)?,
    )?;
    let ours = idle_kilobytes(&mesh, &meshd, |name| name.starts_with("meshd-"))?;
    row(
        "idle session, PSS in kB",
        ours,
        idle_kilobytes(&mesh, &sshd, |name| name == "sshd")?,
    )?;
    let cuts = cut_times(&mesh)?;
    say(&format!(
        "policy saved to session ended, ms (median) {:8.0}",
        median(cuts)
    ))
}

fn start_sshd(mesh: &Mesh) -> Result<Daemon> {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab");
    let cache = lab.join("../../.lab/sshd");
    let fetched = Command::new(lab.join("fetch-sshd")).status();
    if !fetched.is_ok_and(|status| status.success()) {
        return Err(LabError::Failed(
            "there is no sshd to compare with".to_owned(),
        ));
    }
    let tree = Command::new("tar")
        .arg("-C")
        .arg(cache)
        .args(["-c", "usr/sbin/sshd", "usr/lib/x86_64-linux-gnu"])
        .output()
        .map_err(|error| LabError::system("pack sshd", error))?;
    let web1 = mesh.host("web1");
    web1.command("tar")
        .args(["-C", "/", "-x"])
        .input(tree.stdout)
        .succeed()?;
    web1.sh(
        "ldconfig; cp /etc/pam.d/meshd-ssh /etc/pam.d/sshd; useradd -r -d /run/sshd sshd; \
             mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f /run/sshd/host_key",
    )?;
    let laptop = mesh.host("laptop");
    laptop.sh("ssh-keygen -q -t ed25519 -N '' -f /root/key")?;
    let key = laptop.read_text("/root/key.pub")?;
    web1.sh("install -d -m 700 -o alice -g alice /home/alice/.ssh")?;
    web1.write("/home/alice/.ssh/authorized_keys", key)?;
    let options = "UsePAM=yes\nPasswordAuthentication=no\nPidFile=/run/sshd/pid\n\
                   HostKey=/run/sshd/host_key\nMaxStartups=100\nPrintMotd=no\n";
    web1.write("/run/sshd/config", options)?;
    let command = web1.command("/usr/sbin/sshd").args([
        "-D",
        "-e",
        "-f",
        "/run/sshd/config",
        "-p",
        SSHD_PORT,
    ]);
    Daemon::start(web1, "sshd", command, "/run/sshd/pid")
}

/// One login after the other, by turns, so that both meet the same load of the machine.
fn login_times(mesh: &Mesh, ours: &str, theirs: &str) -> Result<(f64, f64)> {
    let script = format!(
        "took() {{ local from=$EPOCHREALTIME; \"$@\" </dev/null || exit 1; \
         local to=$EPOCHREALTIME; echo $((${{to/./}} - ${{from/./}})); }}; \
         for i in {{0..{LOGINS}}}; do took {ours} true; took {theirs} true; done"
    );
    let output = mesh
        .host("laptop")
        .command("bash")
        .args(["-c", &script])
        .deadline(LONG)
        .succeed()?;
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

fn logins_per_second(mesh: &Mesh, ssh: &str) -> Result<f64> {
    let logins = LOGINS * 4;
    let script = format!("seq {logins} | xargs -P {AT_ONCE} -I+ {ssh} true");
    let shell = mesh.host("laptop").command("bash").args(["-c", &script]);
    let took = shell.deadline(LONG).succeed()?.took;
    Ok(f64::from(logins) / took.as_secs_f64())
}

/// What one more idle session costs in the processes that `counts` names.
fn idle_kilobytes(mesh: &Mesh, ssh: &str, counts: impl Fn(&str) -> bool) -> Result<f64> {
    let before = kilobytes(mesh, &counts)?;
    let mut sessions: Vec<Running> = Vec::new();
    for number in 0..IDLE {
        let line = format!("exec {ssh} 'touch /tmp/idle.{number}; sleep 1000'");
        sessions.push(
            mesh.host("laptop")
                .command("sh")
                .args(["-c", &line])
                .spawn()?,
        );
        mesh.wait_for_file("web1", &format!("/tmp/idle.{number}"))?;
    }
    let after = kilobytes(mesh, &counts)?;
    drop(sessions);
    // sshd leaves a command without a terminal alone when its client leaves.
    mesh.host("web1")
        .sh("pkill -KILL -u alice; rm /tmp/idle.*")?;
    mesh.wait_until_empty("web1", "alice")?;
    Ok((after - before) / IDLE as f64)
}

fn kilobytes(mesh: &Mesh, counts: &impl Fn(&str) -> bool) -> Result<f64> {
    let web1 = mesh.host("web1");
    let processes = web1.processes()?;
    let pids = processes.iter().filter(|process| counts(&process.name));
    let files: Vec<_> = pids
        .map(|p| format!("/proc/{}/smaps_rollup", p.pid))
        .collect();
    let summed = web1.sh(&format!(
        "cat /dev/null {} | awk '$1 == \"Pss:\" {{sum += $2}} END {{print sum + 0}}'",
        files.join(" ")
    ))?;
    let number = summed.stdout.trim().parse();
    number.map_err(|_| LabError::Failed(format!("{:?} is no number", summed.stdout)))
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
        "{what:24} {ours:8.1}   {theirs:8.1}   {:8.2}",
        ours / theirs
    ))
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|error| LabError::system("write", error))
}
