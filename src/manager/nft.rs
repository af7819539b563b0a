//! Puts the table `inet meshd` into the kernel, through nft's JSON interface.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::error::Error;
use super::firewall::{Chain, FAMILY, TABLE};
use super::ruleset::{self, Ruleset};

/// How long nft may take; a table of 10,000 peers takes less than a second.
const DEADLINE: Duration = Duration::from_secs(30);
/// Also where a service's PATH has no sbin.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The table as this process has last written it.
#[derive(Debug, Default)]
pub struct Nft {
    wanted: Vec<Chain>,
    seen: Option<Seen>,
    /// Whether the kernel's table is the wanted one, but for what somebody else does to it.
    is_written: bool,
}

/// The table as it was when it was right.
#[derive(Debug)]
struct Seen {
    generation: Vec<u8>,
    ruleset: Ruleset,
}

/// What has become of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableState {
    /// It is as it was written, or was not written yet.
    Intact,
    /// It is not there.
    Gone,
    /// Somebody has changed it.
    Changed,
}

impl Nft {
    /// Makes the kernel's table equal to these chains, in one transaction: each packet meets
    /// either the old rules or the new ones. Chains that have not changed are left alone, and
    /// known connections go on.
    ///
    /// # Errors
    /// [`Error::NoNft`] or [`Error::Nft`]; the old rules are still there then.
    pub async fn write(&mut self, chains: Vec<Chain>) -> Result<(), Error> {
        let commands = if self.is_written {
            changes(&self.wanted, &chains)
        } else {
            // What an earlier run, or an earlier release, has left may look different.
            replacement(&chains)
        };
        self.wanted = chains;
        if commands.is_empty() {
            return Ok(());
        }
        self.carry_out(commands).await
    }

    /// Writes the whole table again.
    ///
    /// # Errors
    /// [`Error::NoNft`] or [`Error::Nft`].
    pub async fn restore(&mut self) -> Result<(), Error> {
        let commands = replacement(&self.wanted);
        self.carry_out(commands).await
    }

    async fn carry_out(&mut self, commands: Vec<Value>) -> Result<(), Error> {
        self.is_written = false;
        if let Err(error) = run(commands).await {
            return Err(explained(error).await);
        }
        self.is_written = true;
        self.seen = None;
        // What cannot be read now is read at the next look.
        let _ = self.look();
        Ok(())
    }

    /// Whether the kernel's table is still as it was written. Costs one short message while no
    /// program has changed any rule of the host.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn look(&mut self) -> io::Result<TableState> {
        if self.wanted.is_empty() {
            return Ok(TableState::Intact);
        }
        let generation = ruleset::generation()?;
        if self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.generation == generation)
        {
            return Ok(TableState::Intact);
        }
        let Some(ruleset) = Ruleset::read()? else {
            return Ok(TableState::Gone);
        };
        let is_right = match &self.seen {
            Some(seen) => seen.ruleset == ruleset,
            None => fits(&self.wanted, &ruleset),
        };
        if !is_right {
            return Ok(TableState::Changed);
        }
        self.seen = Some(Seen {
            generation,
            ruleset,
        });
        Ok(TableState::Intact)
    }

    /// Removes the table and nothing else.
    ///
    /// # Errors
    /// [`Error::NoNft`] or [`Error::Nft`].
    pub async fn remove(&mut self) -> Result<(), Error> {
        *self = Self::default();
        // `delete` alone fails where there is no table.
        run(vec![table("add"), table("delete")]).await
    }
}

/// Whether a table that was just written has the chains and as many rules as it should.
fn fits(chains: &[Chain], ruleset: &Ruleset) -> bool {
    let expected: BTreeMap<&str, usize> = chains
        .iter()
        .map(|chain| (chain.name, chain.rules.len()))
        .collect();
    ruleset.counts().collect::<BTreeMap<_, _>>() == expected
}

/// Whether nft is there and the kernel can do what it will be asked to; changes nothing.
///
/// # Errors
/// [`Error::NoNft`], [`Error::NoNftables`] or [`Error::NoNat`].
pub async fn check() -> Result<(), Error> {
    let version = command().arg("--version").output().await;
    version.map_err(start_error)?;
    probe().await
}

/// Tries a filter and a translation in a table of its own, which the same transaction removes.
async fn probe() -> Result<(), Error> {
    let filter = run(attempt("filter", &[])).await;
    filter.map_err(|error| match error {
        Error::Nft(reason) => Error::NoNftables(reason),
        other => other,
    })?;
    let to = json!({"dnat": {"family": "ip", "addr": "192.0.2.1", "port": 1}});
    let protocol = json!({"match": {
        "op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp",
    }});
    let translated = run(attempt("nat", &[protocol, to])).await;
    translated.map_err(|error| match error {
        Error::Nft(reason) => Error::NoNat(reason),
        other => other,
    })
}

fn attempt(kind: &str, rule: &[Value]) -> Vec<Value> {
    let name = format!("{TABLE}_probe");
    let table = json!({"family": FAMILY, "name": name});
    vec![
        json!({"add": {"table": table}}),
        json!({"add": {"chain": {
            "family": FAMILY, "table": name, "name": "probe", "type": kind,
            "hook": "prerouting", "prio": -100, "policy": "accept",
        }}}),
        json!({"add": {"rule": {
            "family": FAMILY, "table": name, "chain": "probe",
            "expr": if rule.is_empty() { json!([{"accept": null}]) } else { json!(rule) },
        }}}),
        json!({"delete": {"table": table}}),
    ]
}

/// What nft complains about says little of what the kernel lacks.
async fn explained(error: Error) -> Error {
    match error {
        Error::Nft(reason) => match probe().await {
            Err(lack @ (Error::NoNftables(_) | Error::NoNat(_))) => lack,
            Ok(()) | Err(_) => Error::Nft(reason),
        },
        other => other,
    }
}

fn replacement(chains: &[Chain]) -> Vec<Value> {
    let mut commands = vec![table("add"), table("delete"), table("add")];
    commands.extend(chains.iter().map(Chain::add));
    commands.extend(chains.iter().flat_map(Chain::fill));
    commands
}

fn changes(written: &[Chain], chains: &[Chain]) -> Vec<Value> {
    let changed = chains.iter().filter(|chain| !written.contains(chain));
    changed
        .flat_map(|chain| std::iter::once(chain.flush()).chain(chain.fill()))
        .collect()
}

fn table(verb: &str) -> Value {
    json!({verb: {"table": {"family": FAMILY, "name": TABLE}}})
}

fn command() -> Command {
    let mut command = Command::new("nft");
    command.env_clear().env("PATH", PATH).kill_on_drop(true);
    command
}

async fn run(commands: Vec<Value>) -> Result<(), Error> {
    let script = json!({ "nftables": commands }).to_string();
    let mut child = command()
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start_error)?;
    let stdin = child.stdin.take();
    let finished = timeout(DEADLINE, async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(script.as_bytes()).await?;
        }
        child.wait_with_output().await
    });
    let output = finished
        .await
        .map_err(|_| Error::Nft(format!("no answer within {} s", DEADLINE.as_secs())))?
        .map_err(|error| Error::Nft(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    // nft repeats the whole script after its first line.
    let first = message.lines().find(|line| !line.trim().is_empty());
    Err(Error::Nft(
        first
            .unwrap_or("it gave no reason")
            .trim()
            .chars()
            .take(300)
            .collect(),
    ))
}

fn start_error(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        Error::NoNft
    } else {
        Error::Nft(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::firewall;
    use crate::manager::names::tests::document;

    #[test]
    fn only_changed_chains_are_written_again() {
        let off = firewall::table(&document(), &[], "mesh0", false);
        let on = firewall::table(&document(), &[], "mesh0", true);
        assert_eq!(changes(&off, &off), Vec::<Value>::new());
        let commands = changes(&off, &on);
        let flushed: Vec<&Value> = commands
            .iter()
            .filter_map(|command| command.pointer("/flush/chain/name"))
            .collect();
        assert_eq!(flushed, ["to_ssh", "input"]);
    }

    #[test]
    fn a_replacement_deletes_and_fills_in_one_script() {
        let chains = firewall::table(&document(), &[], "mesh0", true);
        let commands = replacement(&chains);
        assert_eq!(commands[1], table("delete"));
        let rules: usize = chains.iter().map(|chain| chain.rules.len()).sum();
        assert_eq!(commands.len(), 3 + chains.len() + rules);
    }
}
