//! `ansible -m ping` of twenty hosts at once, which are twenty names of one.

use std::path::{Path, PathBuf};
use std::process::Command;

use meshd_lab::{LabError, Mesh, Result};

use crate::client::{on_laptop, seconds};
use crate::figures::{head, median, row};
use crate::server::Server;

const HOSTS: u32 = 20;
const TURNS: usize = 3;

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    let program = install(mesh)?;
    head()?;
    for (what, keeps) in [("new connections, s", false), ("kept connections, s", true)] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (times, server) in times.iter_mut().zip(Server::BOTH) {
                let ping = ping(&program, server);
                close(mesh)?;
                if keeps {
                    on_laptop(mesh, &ping).succeed()?;
                }
                times.push(seconds(mesh, &ping)?);
            }
        }
        let [ours, theirs] = times.map(median);
        row(&format!("ping of {HOSTS}, {what}"), (ours, theirs))?;
    }
    close(mesh)
}

/// Ends the connections that are kept; such a client calls itself by its socket.
fn close(mesh: &Mesh) -> Result<()> {
    let end = "pkill -f '^ssh: /tmp/kept/'; rm -rf /tmp/kept; mkdir /tmp/kept";
    on_laptop(mesh, end).succeed().map(drop)
}

/// Each name has a connection of its own.
fn ping(program: &Path, server: Server) -> String {
    let hosts = (0..HOSTS).map(|number| {
        format!("h{number} ansible_host=web1 ansible_control_path=/tmp/kept/{server:?}.{number}\\n")
    });
    let inventory: String = hosts.collect();
    let options = server.options();
    let ansible = program.display();
    format!(
        "printf '{inventory}' >/tmp/inventory
        ANSIBLE_HOST_KEY_CHECKING=0 ANSIBLE_PIPELINING=1 LC_ALL=C.UTF-8 \
        ANSIBLE_SSH_ARGS='{options} -o ControlMaster=auto -o ControlPersist=60' \
        {ansible} all -i /tmp/inventory -f {HOSTS} -u alice -m ping \
            -e ansible_python_interpreter=/usr/bin/python3 >/tmp/pings
        [ \"$(grep -c pong /tmp/pings)\" = {HOSTS} ]"
    )
}

/// Ansible of the lab's clients, on the laptop at the place where it was made.
fn install(mesh: &Mesh) -> Result<PathBuf> {
    let prepare = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/clients/prepare");
    let prepared = Command::new(prepare).arg("python").output();
    let prepared = prepared.map_err(|error| LabError::system("prepare ansible", error))?;
    if !prepared.status.success() {
        let said = String::from_utf8_lossy(&prepared.stderr);
        return Err(LabError::Failed(format!("there is no ansible: {said}")));
    }
    let directory = PathBuf::from(String::from_utf8_lossy(&prepared.stdout).trim());
    let laptop = mesh.host("laptop");
    if !laptop.exists(&directory) {
        let place = directory.to_string_lossy();
        let packed = Command::new("tar").args(["-C", &place, "-c", "."]).output();
        let packed = packed.map_err(|error| LabError::system("pack ansible", error))?;
        let unpack = format!("mkdir -p '{place}' && tar -C '{place}' -x");
        let unpack = laptop.command("sh").args(["-c", &unpack]);
        unpack.input(packed.stdout).succeed()?;
    }
    Ok(directory.join("venv/bin/ansible"))
}
