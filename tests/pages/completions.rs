//! What shells complete: the scripts in the shells themselves.

use std::process::{Command, Stdio};

use meshd_lab::{DEADLINE, Host, Mesh, program};

const PROGRAMS: [&str; 2] = ["mesh", "meshd-control"];
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

#[test]
fn every_shell_reads_its_script() {
    for (name, shell) in PROGRAMS
        .iter()
        .flat_map(|name| SHELLS.map(|shell| (name, shell)))
    {
        let mut script = Command::new(program(name).expect("a program that is built"))
            .args(["completions", shell])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a script");
        let read = Command::new(shell)
            .arg("-n")
            .stdin(script.stdout.take().expect("a pipe"))
            .output()
            .expect("a shell is missing: tests/lab/packages pages installs fish and zsh");
        assert!(script.wait().expect("an end").success(), "{name} {shell}");
        assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
    }
}

#[test]
fn names_of_nodes_are_completed_in_every_shell() {
    let mesh = Mesh::of_two().expect("a mesh");
    let laptop = mesh.host("laptop");
    for (shell, place) in [
        ("bash", "/root/mesh.bash"),
        ("fish", "/root/mesh.fish"),
        ("zsh", "/root/functions/_mesh"),
    ] {
        let write = format!("mkdir -p /root/functions; mesh completions {shell} >{place}");
        laptop.sh(&write).expect("a script");
    }
    in_fish(laptop);
    let bash = ["bash", "--noprofile", "--norc", "-i"];
    on_a_terminal(laptop, &bash, "source /root/mesh.bash");
    let load = "fpath=(/root/functions $fpath); autoload -U compinit; compinit -D -u";
    on_a_terminal(laptop, &["zsh", "-f", "-i"], load);
}

fn in_fish(host: &Host) {
    let completed = |line: &str| {
        let ask = format!("source /root/mesh.fish; complete -C '{line}'");
        let fish = host.command("fish").args(["-c", &ask]).succeed();
        fish.expect("an answer").stdout
    };
    assert!(completed("mesh sta").starts_with("status"));
    assert_eq!(completed("mesh ssh we"), "web1\n");
    assert_eq!(completed("mesh ssh alice@we"), "alice@web1\n");
    assert_eq!(completed("mesh whois web"), "web1\n");
}

/// Types half a word and the tabulator key.
fn on_a_terminal(host: &Host, shell: &[&str], load: &str) {
    let terminal = host.terminal().expect("a terminal");
    let command = host.command(shell[0]).args(shell[1..].iter().copied());
    let mut running = command.spawn_on(&terminal).expect("a shell");
    let line = |text: &str| terminal.send(text).expect("types");
    line(&format!("{load}; echo loa''ded\n"));
    terminal.expect("loaded", DEADLINE).expect("the script");
    for (begun, completed) in [("ssh we", "ssh web1"), ("ssh alice@we", "ssh alice@web1")] {
        // What is on the line is shown by the shell alone; nothing is run.
        line(&format!("mesh {begun}\t"));
        terminal.expect(completed, DEADLINE).expect(shell[0]);
        line("\u{15}");
    }
    running.kill().expect("an end");
}
