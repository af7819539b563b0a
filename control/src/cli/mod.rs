//! The command line.

mod audit;
mod output;
mod perform;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use meshd_contract::duration::Seconds;
use meshd_contract::identity::{NodeName, is_domain};

use crate::api::Scope;
use crate::audit::Moment;
use crate::oidc::OidcArguments;
use crate::public_url::PublicUrl;
use crate::role::{self, Role};

pub(crate) use perform::perform;

/// Coordinates a mesh: lets hosts in, and tells each of them whom it may trust.
#[derive(Debug, Parser)]
#[command(name = "meshd-control", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The socket on which the running server takes commands.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "/run/meshd-control/admin.sock"
    )]
    pub(crate) socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server.
    Serve(Box<ServeArguments>),
    /// The people who own hosts.
    #[command(subcommand)]
    Users(UsersCommand),
    /// The keys with which hosts join.
    #[command(subcommand)]
    Authkeys(AuthkeysCommand),
    /// The keys of programs that use the API.
    #[command(subcommand)]
    Apikeys(ApikeysCommand),
    /// The hosts of the mesh.
    #[command(subcommand)]
    Nodes(NodesCommand),
    /// What owners have approved for logins that a rule checks.
    #[command(subcommand)]
    Checks(ChecksCommand),
    /// Who may do what.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print the log of who changed what, and what hosts have told of logins.
    Audit(AuditArguments),
    /// Copy the database and the keys while the server runs, and print where to.
    Backup,
    /// Put a backup in place, for a server that does not run.
    Restore {
        /// The backup's directory.
        backup: PathBuf,
        /// The directory of control's key and database.
        #[arg(
            long,
            value_name = "DIRECTORY",
            default_value = "/var/lib/meshd-control"
        )]
        state: PathBuf,
    },
    /// Print control's public key and its fingerprint, for `mesh up --control-key`.
    Key,
    /// The keys that control signs with.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print what a shell needs to complete this command.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the version.
    Version,
}

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Where nodes connect to (HTTPS).
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
    pub(crate) listen: SocketAddr,
    /// The address under which browsers find control, https://HOST[:PORT]; https, this host's name
    /// and the port, unless given.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<PublicUrl>,
    /// The directory of control's key and database.
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "/var/lib/meshd-control"
    )]
    pub(crate) state: PathBuf,
    /// The domain under which node names are resolved.
    #[arg(long, value_name = "DOMAIN", default_value = "mesh.internal", value_parser = domain)]
    pub(crate) domain: String,
    /// An e-mail domain of this mesh, which the policy may name as `user:*@DOMAIN`; may be
    /// repeated.
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    pub(crate) login_domain: Vec<String>,
    /// A PEM file with the certificate to serve with, in the place of a self-signed one.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The PEM file with the certificate's private key.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// How long a node acts on what it was last told while control is away.
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    pub(crate) document_lifetime: Seconds,
    /// How long after it has joined the key of a user's node expires; that of a tagged node never
    /// does.
    #[arg(long, value_name = "DURATION", default_value = "180d")]
    pub(crate) key_expiry: Seconds,
    /// An administrator approves each host that somebody else has let in on a page.
    #[arg(long)]
    pub(crate) approve_devices: bool,
    /// With whom people sign in.
    #[command(flatten)]
    pub(crate) oidc: OidcArguments,
    /// How long an ephemeral node may be away before it is removed.
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    pub(crate) ephemeral_timeout: Seconds,
    /// How many requests a second each API key may make, after a burst of five times as many.
    #[arg(long, value_name = "COUNT", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) api_rate: u32,
}

/// Commands about users.
#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Add a user.
    Create {
        /// The user's e-mail address.
        login: String,
        /// member, owner, admin, network-admin, it-admin, billing-admin or auditor.
        #[arg(long, default_value = "member", value_parser = role::parse)]
        role: Role,
    },
    /// Print a link, good for one day and one use, by which a user sets a password; a user who is
    /// not there yet is added.
    Invite {
        /// The user's e-mail address.
        login: String,
        /// The role of a new user; a member, unless given.
        #[arg(long, value_parser = role::parse)]
        role: Option<Role>,
    },
    /// List the users.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a user another role.
    Role {
        /// The user's e-mail address.
        login: String,
        /// member, owner, admin, network-admin, it-admin, billing-admin or auditor.
        #[arg(value_parser = role::parse)]
        role: Role,
    },
    /// Remove a user, the user's hosts and auth keys; sessions from these hosts end.
    Delete {
        /// The user's e-mail address.
        login: String,
    },
}

/// Commands about auth keys.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthkeysCommand {
    /// Make an auth key and print its secret, this once.
    Create(CreateAuthkey),
    /// List the auth keys, without their secrets.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an auth key; hosts that joined with it stay.
    Delete {
        /// The number that `authkeys list` shows.
        id: u64,
    },
}

/// What an auth key shall be.
#[derive(Debug, Args)]
pub(crate) struct CreateAuthkey {
    /// Whose the joining hosts are.
    #[command(flatten)]
    pub(crate) owner: AuthkeyOwner,
    /// Good for any number of hosts, not for one only.
    #[arg(long)]
    pub(crate) reusable: bool,
    /// Remove its hosts by themselves once they are away (`serve --ephemeral-timeout`).
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// How long the key can be used for joining.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) expires: Seconds,
}

/// Whose hosts an auth key is for: one user's, or nobody's with tags.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct AuthkeyOwner {
    /// The joining host belongs to this user.
    #[arg(long, value_name = "LOGIN")]
    pub(crate) user: Option<String>,
    /// The joining host carries this tag and belongs to nobody; may be repeated.
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
}

/// Commands about API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum ApikeysCommand {
    /// Make an API key and print its secret, this once.
    Create {
        /// What the key may do, such as nodes:read,policy:write; who may write may read too.
        #[arg(long, value_name = "SCOPE", required = true, value_delimiter = ',')]
        scope: Vec<Scope>,
        /// How long the key counts.
        #[arg(long, value_name = "DURATION", default_value = "90d")]
        expires: Seconds,
    },
    /// List the API keys, without their secrets.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an API key.
    Delete {
        /// The number that `apikeys list` shows.
        id: u64,
    },
}

/// Commands about control's own key.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Put a new key in the place of the present one. Hosts follow by themselves, also those that
    /// are away now.
    Rotate {
        /// How long what the present key has signed still counts: a duration, or none, for a key
        /// that was stolen; as long as a document counts (`serve --document-lifetime`), unless
        /// given. A second rotation ends it in any case.
        #[arg(long, value_name = "DURATION", value_parser = overlap)]
        overlap: Option<u64>,
    },
    /// List the keys that control has and had, the oldest first.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Commands about nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodesCommand {
    /// List the hosts.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a host from the mesh; sessions from and to it end.
    Delete {
        /// Its name or number.
        node: String,
    },
    /// Approve a host that waits for it (`serve --approve-devices`).
    Approve {
        /// Its name or number.
        node: String,
    },
    /// Give a host another name.
    Rename {
        /// Its name or number.
        node: String,
        /// The new name.
        name: NodeName,
    },
    /// Set when a host's key expires; from then on it is nobody's peer, and sessions from it end.
    Expiry {
        /// Its name or number.
        node: String,
        /// now, never, or a duration from now, such as 30d.
        when: Expiry,
    },
}

/// Commands about checks.
#[derive(Debug, Subcommand)]
pub(crate) enum ChecksCommand {
    /// List what was approved and still counts.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take back what was approved for logins from a host; sessions that it has let in end.
    Revoke(RevokeChecks),
}

/// Whose approvals to take back.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RevokeChecks {
    /// The name or number of the host that the logins come from.
    pub(crate) node: Option<String>,
    /// All hosts of this user.
    #[arg(long, value_name = "LOGIN")]
    pub(crate) user: Option<String>,
}

/// When a key is to expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Never.
    Never,
    /// In so many seconds.
    In(u64),
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "now" => Ok(Self::In(0)),
            text => match text.parse() {
                Ok(Seconds(seconds)) => Ok(Self::In(seconds)),
                Err(_) => Err("write now, never, or a number and a unit, such as 30d".to_owned()),
            },
        }
    }
}

/// Commands about the policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Print the policy as it was saved.
    Get,
    /// Print what the policy is applied to, for `mesh policy ... --topology`.
    Topology,
    /// Check a policy and make it the one that counts, at once.
    Set {
        /// The file; - is standard input.
        file: PathBuf,
        /// Also if it cuts what a user with the role owner or admin has now.
        #[arg(long)]
        yes: bool,
    },
    /// Check a policy and run its tests.
    Check {
        /// The file; - is standard input.
        file: PathBuf,
    },
}

/// Which entries of the log to print.
#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    /// Entries from then on: a time, a day, or how long ago, such as 7d.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Entries before then.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// Entries of this action, or of all that begin with it, such as login for login.denied.
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,
    /// Only the newest so many entries.
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u32>,
    /// Go on with new entries until it is interrupted.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Lines for people, or JSON, one object a line.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// How entries are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// In seconds.
fn overlap(text: &str) -> Result<u64, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(0),
        (_, Ok(Seconds(seconds))) => Ok(seconds),
        _ => Err("write none, or a number and a unit, such as 12h".to_owned()),
    }
}

fn domain(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    if is_domain(&text) {
        Ok(text)
    } else {
        Err("a domain is made of labels and dots, such as mesh.internal".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_auth_key_is_for_a_user_or_for_tags() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("meshd-control authkeys create").is_err());
        assert!(parse("meshd-control authkeys create --user a@b --tag tag:x").is_err());
        assert!(parse("meshd-control authkeys create --user a@b").is_ok());
        assert!(parse("meshd-control authkeys create --tag tag:x --tag tag:y").is_ok());
    }

    #[test]
    fn a_key_expires_now_never_or_in_a_while() {
        assert_eq!("now".parse(), Ok(Expiry::In(0)));
        assert_eq!("never".parse(), Ok(Expiry::Never));
        assert_eq!("30d".parse(), Ok(Expiry::In(30 * 86_400)));
        assert!("soon".parse::<Expiry>().is_err());
    }

    #[test]
    fn a_replaced_key_counts_for_a_while_or_not_at_all() {
        assert_eq!(overlap("none"), Ok(0));
        assert_eq!(overlap("12h"), Ok(12 * 3_600));
        assert!(overlap("0").is_err());
    }

    #[test]
    fn a_domain_has_no_final_dot() {
        assert_eq!(domain("Mesh.Internal."), Ok("mesh.internal".to_owned()));
        for text in ["", ".", "a..b", "-a", "a b", "a/b"] {
            assert!(domain(text).is_err(), "{text}");
        }
    }
}
