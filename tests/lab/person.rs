//! A person with a browser on a host of the lab.

use std::collections::BTreeMap;

use crate::{CONTROL, HostCommand, LabError, Mesh, Result};

const PASSWORD: &str = "correct horse battery";

/// RFC 6238, from the letters that an authenticator app is given.
const CODE: &str = "
import base64, hmac, struct, sys, time
key = base64.b32decode(sys.argv[1])
tag = hmac.digest(key, struct.pack('>Q', int(time.time()) // 30), 'sha1')
at = tag[19] & 15
print('%06d' % ((struct.unpack('>I', tag[at:at + 4])[0] & 0x7fffffff) % 1000000))
";

/// Somebody who is signed in at control.
#[derive(Debug, Clone)]
pub struct Person {
    host: &'static str,
    /// Where control's pages are, without a final slash.
    pub origin: String,
    /// The browser's memory.
    cookies: String,
}

/// What a browser got.
#[derive(Debug, Clone)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The page itself.
    pub page: String,
}

impl Person {
    /// Gives `login` an account by a link, and signs in on `host`.
    ///
    /// # Errors
    /// [`LabError::Failed`], also where curl or python3 is missing.
    pub fn new(mesh: &Mesh, host: &'static str, login: &str) -> Result<Self> {
        let link = mesh.meshd_control(&["users", "invite", login])?;
        let link = link.stdout.trim();
        let (origin, _) = between(link, "", "/account/")?;
        let person = Self {
            host,
            origin: origin.to_owned(),
            cookies: format!("/tmp/cookies-{login}"),
        };
        let page = person.open(mesh, link)?.page;
        let (letters, _) = between(&page, "<code>", "</code>")?;
        let code = mesh.host(host).command("python3");
        let code = code
            .args(["-c", CODE, &letters.replace(' ', "")])
            .succeed()?;
        let fields = [
            ("password", PASSWORD),
            ("repeated", PASSWORD),
            ("code", code.stdout.trim()),
        ];
        let answer = person.submit(mesh, link, &page, &fields)?;
        match answer.status {
            303 => Ok(person),
            _ => Err(strange(&answer.page)),
        }
    }

    /// The file on the host with the browser's cookies, as curl keeps them.
    #[must_use]
    pub fn cookies(&self) -> &str {
        &self.cookies
    }

    /// Opens a page.
    ///
    /// # Errors
    /// [`LabError::Failed`] when control does not answer.
    pub fn open(&self, mesh: &Mesh, url: &str) -> Result<Page> {
        run(self.curl(mesh).arg(url))
    }

    /// Opens a page, and presses a button there.
    ///
    /// # Errors
    /// As [`Self::open`], and when there is no such page.
    pub fn press(&self, mesh: &Mesh, url: &str, name: &str, value: &str) -> Result<Page> {
        let opened = self.open(mesh, url)?;
        match opened.status {
            200 => self.submit(mesh, url, &opened.page, &[(name, value)]),
            _ => Err(strange(&opened.page)),
        }
    }

    /// Sends a form of a page that was opened.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn submit(
        &self,
        mesh: &Mesh,
        url: &str,
        page: &str,
        fields: &[(&str, &str)],
    ) -> Result<Page> {
        let mut curl = self.curl(mesh);
        curl = curl.args(["-H", &format!("origin: {}", self.origin)]);
        let hidden = hidden(page)?;
        let hidden = hidden
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in hidden.chain(fields.iter().copied()) {
            curl = curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        run(curl.arg(url))
    }

    /// The names of the lab are known in the mesh only, and nobody has signed control's own
    /// certificate.
    fn curl(&self, mesh: &Mesh) -> HostCommand {
        let control = format!("::{}:8443", mesh.host(CONTROL).v4());
        let curl = mesh.host(self.host).command("curl");
        curl.args(["-sS", "--insecure", "--connect-to", &control])
            .args(["--cookie", &self.cookies, "--cookie-jar", &self.cookies])
            .args(["--write-out", "\n%{http_code}"])
    }
}

fn run(curl: HostCommand) -> Result<Page> {
    let output = curl.succeed()?;
    let split = output.stdout.rsplit_once('\n');
    let status = split.and_then(|(page, status)| Some((page, status.parse().ok()?)));
    let (page, status) = status.ok_or_else(|| strange(&output.stdout))?;
    Ok(Page {
        status,
        page: page.to_owned(),
    })
}

fn hidden(page: &str) -> Result<BTreeMap<String, String>> {
    let inputs = page.split("<input type=\"hidden\" name=\"").skip(1);
    let field = |input: &str| {
        let (name, rest) = between(input, "", "\"")?;
        let (value, _) = between(rest, " value=\"", "\"")?;
        Ok((name.to_owned(), value.to_owned()))
    };
    inputs.map(field).collect()
}

/// What stands between two texts, and what comes after.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Result<(&'a str, &'a str)> {
    let rest = text.split_once(before).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(after));
    found.ok_or_else(|| strange(text))
}

fn strange(page: &str) -> LabError {
    LabError::Failed(format!(
        "control's page is another one than expected: {page}"
    ))
}
