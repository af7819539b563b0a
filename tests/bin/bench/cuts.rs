//! How soon a session ends after the policy that ends it is saved.

use std::time::Instant;

use meshd_lab::{DEADLINE, Mesh, Result, policy_for_alice};

use crate::figures::{median, say};

const CUTS: usize = 9;

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    let times: Vec<f64> = (0..CUTS).map(|_| cut(mesh)).collect::<Result<_>>()?;
    let words = "policy saved to session ended, ms";
    say(&format!("{words:31}{:9.2}", median(times)))
}

fn cut(mesh: &Mesh) -> Result<f64> {
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
}
