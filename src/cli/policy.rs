//! `mesh policy`: looks into a policy, as a file or as control has it.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode};

use clap::{Args, Subcommand};
use meshd_contract::login::Login;
use meshd_policy::{Question, Topology, check, diff, explain, format, test};
use serde::Serialize;

use super::{CliError, print};
use crate::manager::atomic;

/// The program of the control server, which is asked where `--control` is given.
const CONTROL: &str = "meshd-control";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether a policy can be saved; if not, line and column of each fault.
    Check {
        /// The policy.
        file: PathBuf,
        #[command(flatten)]
        on: OptionalMesh,
        #[command(flatten)]
        output: Output,
    },
    /// Run a policy's tests and sshTests on a mesh.
    Test {
        /// The policy; control's saved one, unless given.
        file: Option<PathBuf>,
        #[command(flatten)]
        on: Mesh,
        #[command(flatten)]
        output: Output,
    },
    /// Say which rule decides about an access, or what the nearest rules lack.
    Explain {
        /// The policy; control's saved one, unless given.
        file: Option<PathBuf>,
        #[command(flatten)]
        on: Mesh,
        /// Who connects: a node's name, number or address, or a user with one node.
        #[arg(long, value_name = "NODE")]
        src: String,
        /// Where to: a node's name, number or address, or any address.
        #[arg(long, value_name = "NODE")]
        dst: String,
        /// The account; without it only the network is explained.
        #[arg(long, value_name = "ACCOUNT")]
        login: Option<Login>,
        /// The TCP port; 22, unless given.
        #[arg(long)]
        port: Option<u16>,
        #[command(flatten)]
        output: Output,
    },
    /// Say who gains and who loses which access when one policy replaces another.
    Diff {
        /// The policy that is replaced; with one file only, control's saved one is.
        #[arg(value_names = ["OLD", "NEW"], num_args = 1..=2, required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        on: Mesh,
        #[command(flatten)]
        output: Output,
    },
    /// Print a policy in the usual form; comments stay.
    Fmt {
        /// The policy.
        file: PathBuf,
        /// Replace the file instead of printing.
        #[arg(long)]
        write: bool,
    },
}

/// The mesh that a policy is applied to.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Mesh {
    /// A JSON file with users, nodes and domains, as `meshd-control policy topology` prints it.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Ask the control server that runs on this host.
    #[arg(long)]
    control: bool,
}

/// The mesh that a policy is applied to; an empty one, unless given.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct OptionalMesh {
    /// A JSON file with users, nodes and domains, to run the policy's tests on.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Run the policy's tests on the mesh of the control server that runs on this host.
    #[arg(long)]
    control: bool,
}

/// How results are written.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Check { file, on, output } => {
            let topology = match (&on.topology, on.control) {
                (None, false) => Topology::default(),
                (file, control) => topology(file.as_deref(), control)?,
            };
            let report = check(&read(file)?, &topology);
            // Without a mesh there is nothing to run tests on.
            let success = match on.control || on.topology.is_some() {
                true => report.is_success(),
                false => report.errors.is_empty(),
            };
            output.print_verdict(&report, success)
        }
        Command::Test { file, on, output } => {
            let report = test(&on.policy(file.as_deref())?, &on.topology()?).map_err(refused)?;
            output.print_verdict(&report, report.is_success())
        }
        Command::Explain {
            file,
            on,
            src,
            dst,
            login,
            port,
            output,
        } => {
            let question = Question {
                source: src.clone(),
                destination: dst.clone(),
                login: login.clone(),
                port: *port,
                protocol: None,
            };
            let policy = on.policy(file.as_deref())?;
            let explained = explain(&policy, &on.topology()?, &question).map_err(refused)?;
            output.print_verdict(&explained, explained.is_permitted())
        }
        Command::Diff { files, on, output } => {
            let (old, new) = match files.as_slice() {
                [old, new] => (read(old)?, read(new)?),
                [new] => (on.policy(None)?, read(new)?),
                _ => return Err(CliError::Policy("give one or two policies".to_owned())),
            };
            let difference = diff(&old, &new, &on.topology()?).map_err(refused)?;
            output.print_verdict(&difference, true)
        }
        Command::Fmt { file, write } => {
            let formatted = format(&read(file)?).map_err(|errors| in_file(file, &errors))?;
            if *write {
                rewrite(file, &formatted)?;
            } else {
                print(&formatted)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Output {
    /// Prints a result; the exit status is that of the verdict.
    fn print_verdict<T: Display + Serialize>(
        &self,
        result: &T,
        success: bool,
    ) -> Result<ExitCode, CliError> {
        let text = if self.json {
            serde_json::to_string_pretty(result).map_err(refused)?
        } else {
            result.to_string()
        };
        print(&format!("{}\n", text.trim_end()))?;
        Ok(ExitCode::from(u8::from(!success)))
    }
}

impl Mesh {
    fn topology(&self) -> Result<Topology, CliError> {
        topology(self.topology.as_deref(), self.control)
    }

    /// The policy in `file`, or the one that control has saved.
    fn policy(&self, file: Option<&Path>) -> Result<String, CliError> {
        match file {
            Some(file) => read(file),
            None if self.control => ask_control(&["policy", "get"]),
            None => Err(CliError::Policy(
                "name a policy file, or use --control for the saved one".to_owned(),
            )),
        }
    }
}

fn topology(file: Option<&Path>, control: bool) -> Result<Topology, CliError> {
    let (text, from) = match file {
        Some(file) if !control => (read(file)?, file.display().to_string()),
        _ => (ask_control(&["policy", "topology"])?, CONTROL.to_owned()),
    };
    serde_json::from_str(&text).map_err(|error| CliError::Policy(format!("{from}: {error}")))
}

/// What the program of the control server prints; it says itself what is wrong.
fn ask_control(arguments: &[&str]) -> Result<String, CliError> {
    let output = Program::new(CONTROL)
        .args(arguments)
        .output()
        .map_err(|error| {
            let hint = "--control works on the host of the control server";
            CliError::Policy(format!("{CONTROL} cannot be started ({error}): {hint}"))
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(CliError::Policy(said.trim_end().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(refused)
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| CliError::File {
        path: path.to_owned(),
        verb: "read",
        reason: error.to_string(),
    })
}

/// Replaces a file and keeps its mode.
fn rewrite(path: &Path, text: &str) -> Result<(), CliError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error: &dyn Display| CliError::File {
        path: path.to_owned(),
        verb: "written",
        reason: error.to_string(),
    };
    let metadata = std::fs::metadata(path).map_err(|error| failed(&error))?;
    let mode = metadata.permissions().mode() & 0o777;
    atomic::write(path, text.as_bytes(), mode).map_err(|error| failed(&error))
}

fn refused(error: impl Display) -> CliError {
    CliError::Policy(error.to_string())
}

fn in_file(path: &Path, errors: &dyn Display) -> CliError {
    CliError::Policy(format!("{}:\n{errors}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use meshd_contract::identity::{NodeId, Owner};
    use meshd_policy::Node;

    use super::*;
    use crate::manager::names::tests::addresses;

    const POLICY: &str = r#"{
        // Who looks after the web servers.
        "groups": {"group:ops": ["alice@example.com"]},
        "tagOwners": {"tag:web": ["group:ops"]},
        "grants": [{"src": ["group:ops"], "dst": ["tag:web"], "ip": ["tcp:22"]}],
        "ssh": [{"action": "accept", "src": ["group:ops"], "dst": ["tag:web"],
                 "users": ["autogroup:nonroot"]}],
    }"#;

    /// A directory with a policy and a mesh.
    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().expect("a directory"));
            let node = |id: u8, name: &str, owner| Node {
                id: NodeId(id.into()),
                name: name.parse().expect("a name"),
                addresses: addresses(id),
                owner,
                approved_routes: Vec::new(),
            };
            let topology = Topology {
                nodes: vec![
                    node(1, "laptop", Owner::User("alice@example.com".to_owned())),
                    node(2, "web1", Owner::Tags(vec!["tag:web".to_owned()])),
                ],
                ..Topology::default()
            };
            let topology = serde_json::to_string(&topology).expect("writes");
            std::fs::write(files.path("topology"), topology).expect("writes");
            std::fs::write(files.path("policy"), POLICY).expect("writes");
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn mesh(&self) -> Mesh {
            Mesh {
                topology: Some(self.path("topology")),
                control: false,
            }
        }

        fn explain(&self, login: &str) -> Result<ExitCode, CliError> {
            run(&Command::Explain {
                file: Some(self.path("policy")),
                on: self.mesh(),
                src: "laptop".to_owned(),
                dst: "web1".to_owned(),
                login: Some(login.parse().expect("a login")),
                port: None,
                output: Output { json: true },
            })
        }
    }

    #[test]
    fn the_exit_status_says_what_is_decided() {
        let files = Files::new();
        assert_eq!(files.explain("alice").expect("answers"), ExitCode::SUCCESS);
        assert_eq!(files.explain("root").expect("answers"), ExitCode::FAILURE);
    }

    #[test]
    fn formatting_keeps_comments_and_the_files_mode() {
        use std::os::unix::fs::PermissionsExt;
        let files = Files::new();
        let file = files.path("policy");
        let mode = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&file, mode).expect("changes");
        let command = Command::Fmt {
            file: file.clone(),
            write: true,
        };
        assert_eq!(run(&command).expect("formats"), ExitCode::SUCCESS);
        let text = std::fs::read_to_string(&file).expect("reads");
        assert!(
            text.contains("// Who looks after the web servers."),
            "{text}"
        );
        let mode = std::fs::metadata(&file)
            .expect("is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn a_faulty_file_is_named_and_stays() {
        let files = Files::new();
        let file = files.path("policy");
        std::fs::write(&file, "{\"ssh\": [}").expect("writes");
        let command = Command::Fmt {
            file: file.clone(),
            write: true,
        };
        let error = run(&command).expect_err("is refused").to_string();
        assert!(
            error.contains("policy:") && error.contains("line 1"),
            "{error}"
        );
        assert_eq!(
            std::fs::read_to_string(&file).expect("reads"),
            "{\"ssh\": [}"
        );
    }

    #[test]
    fn a_file_or_control_must_be_named() {
        let files = Files::new();
        let command = Command::Test {
            file: None,
            on: files.mesh(),
            output: Output { json: false },
        };
        let error = run(&command).expect_err("is refused").to_string();
        assert!(error.contains("--control"), "{error}");
    }
}
