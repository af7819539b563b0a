//! `make demo`: a mesh of two hosts, and what one can see of it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use meshd_lab::{
    DEADLINE, LabError, Mesh, Owner, Page, Person, Result, Running, policy_for_alice, policy_with,
    requirements, wait_for,
};

/// What ssh says while it waits.
const SAID: &str = "/tmp/ssh.log";

fn main() -> ExitCode {
    match show().and_then(|mesh| keep(&mesh)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<Mesh> {
    requirements::check()?;
    let began = Instant::now();
    say("One control server and two hosts, each with a root, accounts and a network of its own.")?;
    let mut mesh = Mesh::start(&["laptop", "web1"])?;
    invite(&mesh)?;
    join(&mut mesh)?;
    log_in(&mesh)?;
    look_around(&mesh)?;
    be_denied(&mesh)?;
    be_checked(&mesh)?;
    be_cut(&mesh)?;
    say("\nWhat the mesh looks like from the laptop:")?;
    run(&mesh, "laptop", "alice", "mesh status")?;
    let seconds = began.elapsed().as_secs_f32();
    say(&format!("\nAll of this took {seconds:.1} s."))?;
    Ok(mesh)
}

/// Alice may become alice, and root after she has signed in.
const RULES: &str = r#"
        {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["alice"]},
        {"action": "check", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["root"]},
    "#;

fn invite(mesh: &Mesh) -> Result<()> {
    say(
        "\nAlice is a user of the mesh. On hosts that carry tag:web she may become alice, and root \
         after a recent sign-in.",
    )?;
    let control = mesh.host("control");
    control.write("/root/policy.hujson", policy_with(RULES))?;
    control.write("/root/nobody.hujson", policy_for_alice(&[]))?;
    run(
        mesh,
        "control",
        "root",
        "meshd-control users create alice@example.com",
    )?;
    run(mesh, "control", "root", "cat /root/policy.hujson")?;
    run(
        mesh,
        "control",
        "root",
        "meshd-control policy set /root/policy.hujson",
    )
}

fn join(mesh: &mut Mesh) -> Result<()> {
    say("\nThe hosts join. On web1 root turns SSH on and makes the accounts alice and bob.")?;
    mesh.host("laptop").add_user("alice")?;
    for account in ["alice", "bob"] {
        mesh.host("web1").add_user(account)?;
    }
    mesh.start_broker("web1")?;
    for (host, owner) in [
        ("laptop", Owner::User("alice@example.com")),
        ("web1", Owner::Tag("tag:web")),
    ] {
        let command = mesh.prepare_join(host, owner)?;
        typed(host, "root", &command.line())?;
        show_output(&command.succeed()?.stdout)?;
        mesh.finish_join(host)?;
    }
    mesh.wait_until_reachable("laptop", "web1")
}

fn log_in(mesh: &Mesh) -> Result<()> {
    say("\nNo key, no password: WireGuard has proved who calls.")?;
    run(mesh, "laptop", "alice", "ssh alice@web1 id")
}

fn look_around(mesh: &Mesh) -> Result<()> {
    say("\nA shell on web1, and what runs there as whom:")?;
    let line = "ssh -t alice@web1";
    typed("laptop", "alice", line)?;
    let terminal = mesh.host("laptop").terminal()?;
    terminal.resize(110, 40)?;
    let mut ssh = command(mesh, "laptop", "alice", line).spawn_on(&terminal)?;
    terminal.expect("alice@web1", DEADLINE)?;
    terminal.send("ps -eo user:10,pid,args --forest --cols 110; exit\r")?;
    ssh.wait(DEADLINE)?;
    show_output(&without_escapes(&terminal.shown_at_the_end()?))
}

fn be_denied(mesh: &Mesh) -> Result<()> {
    say("\nNo rule lets her become bob:")?;
    let line = "ssh bob@web1 id";
    typed("laptop", "alice", line)?;
    let output = command(mesh, "laptop", "alice", line).output()?;
    show_output(&output.stderr)?;
    if output.status.success() {
        return Err(LabError::Failed("bob was let in".to_owned()));
    }
    Ok(())
}

fn be_checked(mesh: &Mesh) -> Result<()> {
    say("\nTo become root she signs in at control, with any browser; her ssh waits meanwhile:")?;
    let alice = Person::new(mesh, "laptop", "alice@example.com")?;
    let laptop = mesh.host("laptop");
    let line = "ssh root@web1 id";
    typed("laptop", "alice", line)?;
    let mut ssh = command(mesh, "laptop", "alice", line).spawn_into(&laptop.append(SAID)?)?;
    let (prompt, url, number) = wait_for("page to open", DEADLINE, || {
        let said = laptop.read_text(SAID).ok()?;
        let word = |after: &str| {
            Some(
                said.split_once(after)?
                    .1
                    .split_once('\n')?
                    .0
                    .trim()
                    .to_owned(),
            )
        };
        let (url, number) = (word("visit: ")?, word("number: ")?);
        Some((said, url, number))
    })?;
    show_output(&prompt)?;
    let shown = alice.open(mesh, &url)?;
    say("The page, as she sees it:")?;
    show_output(&readable(&shown))?;
    say(&format!("She chooses {number}, and her ssh goes on:"))?;
    let answer = alice.press(mesh, &url, "choice", &number)?;
    let status = ssh.wait(DEADLINE)?;
    let said = laptop.read_text(SAID)?;
    show_output(said.strip_prefix(&prompt).unwrap_or(&said))?;
    match status.success() {
        true => Ok(()),
        false => Err(LabError::Failed(readable(&answer))),
    }
}

/// What a page says, a line for each of its paragraphs and forms.
fn readable(page: &Page) -> String {
    let (_, content) = page.page.split_once("<main>").unwrap_or(("", &page.page));
    let content = content
        .replace("<button", "<button>[<")
        .replace("</button>", "] ");
    let mut text = String::new();
    for part in content.split('<') {
        let (tag, words) = part.split_once('>').unwrap_or(("", part));
        if matches!(tag, "/p" | "/h1" | "/form") {
            text.push('\n');
        }
        text.push_str(words);
    }
    text
}

fn be_cut(mesh: &Mesh) -> Result<()> {
    say("\nA session runs, and the policy changes under it:")?;
    let line = "ssh alice@web1 'echo asleep; sleep 1000'";
    typed("laptop", "alice", line)?;
    let mut ssh = command(mesh, "laptop", "alice", line).spawn()?;
    wait_for_output(&mut ssh)?;
    let line = "meshd-control policy set /root/nobody.hujson";
    typed("control", "root", line)?;
    let saving = Instant::now();
    let saved = command(mesh, "control", "root", line);
    let cut = thread::scope(|scope| {
        let saved = scope.spawn(|| saved.succeed());
        let status = ssh.wait(DEADLINE).map(|_| saving.elapsed());
        let saved = saved.join();
        saved.map_err(|_| LabError::Failed("saving panicked".to_owned()))??;
        status
    })?;
    let mut said = String::new();
    if let Some(mut stderr) = ssh.stderr.take() {
        let _ = io::Read::read_to_string(&mut stderr, &mut said);
    }
    show_output(&said)?;
    let left = mesh.host("web1").processes()?;
    let left = left
        .iter()
        .filter(|process| process.user == "alice")
        .count();
    say(&format!(
        "From saving the policy to the end of the session: {:.0} ms; {left} of its processes left.",
        milliseconds(cut)
    ))
}

fn wait_for_output(ssh: &mut Running) -> Result<()> {
    let mut first = [0];
    let read = ssh
        .stdout
        .as_mut()
        .map(|out| io::Read::read(out, &mut first));
    match read {
        Some(Ok(1)) => Ok(()),
        _ => Err(LabError::Failed("the session said nothing".to_owned())),
    }
}

fn keep(mesh: &Mesh) -> Result<()> {
    if std::env::var_os("KEEP").is_none_or(|value| value.is_empty()) {
        return Ok(());
    }
    say("\nThe mesh runs until you press Ctrl-C. Enter its hosts from another terminal, as root:")?;
    for name in ["control", "laptop", "web1"] {
        let pid = mesh.host(name).pid();
        say(&format!(
            "  {name:8} nsenter --target {pid} --all --wdns=/root bash -l"
        ))?;
    }
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Types a line on a host and shows what comes back.
fn run(mesh: &Mesh, host: &str, user: &str, line: &str) -> Result<()> {
    typed(host, user, line)?;
    show_output(&command(mesh, host, user, line).succeed()?.stdout)
}

fn command(mesh: &Mesh, host: &str, user: &str, line: &str) -> meshd_lab::HostCommand {
    let shell = mesh.host(host).command("sh");
    shell.user(user).args(["-c", &format!("cd; exec {line}")])
}

fn typed(host: &str, user: &str, line: &str) -> Result<()> {
    let sign = if user == "root" { '#' } else { '$' };
    say(&format!("{user}@{host}:~{sign} {line}"))
}

fn show_output(text: &str) -> Result<()> {
    let lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    lines
        .map(|line| format!("    {line}"))
        .try_for_each(|line| say(&line))
}

/// Leaves out what a terminal acts on instead of showing it: `ESC [ ... letter` and
/// `ESC ] ... BEL` (xterm, ctlseqs).
fn without_escapes(text: &str) -> String {
    let mut shown = String::new();
    let mut parts = text.split('\u{1b}');
    shown.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = match part.as_bytes().first() {
            Some(b']') => part.find('\u{7}'),
            _ => part.find(|c: char| c.is_ascii_alphabetic()),
        };
        shown.push_str(end.and_then(|end| part.get(end + 1..)).unwrap_or_default());
    }
    shown
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|error| LabError::system("write", error))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
