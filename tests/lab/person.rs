//! A person with a browser on a host of the lab.

use std::collections::BTreeMap;

use meshd_lab::{CONTROL, HostCommand, Mesh};

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
pub(crate) struct Person {
    host: &'static str,
    /// Where control's pages are, without a final slash.
    pub(crate) origin: String,
    /// The browser's memory.
    cookies: String,
}

/// What a browser got.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) page: String,
}

impl Person {
    /// Gives `login` an account by a link, and signs in on `host`.
    pub(crate) fn new(mesh: &Mesh, host: &'static str, login: &str) -> Self {
        let link = mesh.meshd_control(&["users", "invite", login]);
        let link = link.expect("a link").stdout.trim().to_owned();
        let end = link.rfind("/account/").expect("the page of an account");
        let person = Self {
            host,
            origin: link[..end].to_owned(),
            cookies: format!("/tmp/cookies-{login}"),
        };
        let page = person.open(mesh, &link).page;
        let (_, letters) = page.split_once("<code>").expect("letters");
        let (letters, _) = letters.split_once("</code>").expect("an end");
        let code = mesh.host(host).command("python3");
        let code = code.args(["-c", CODE, &letters.replace(' ', "")]).succeed();
        let code = code.expect("python3, of the package python3").stdout;
        let fields = [
            ("password", PASSWORD),
            ("repeated", PASSWORD),
            ("code", code.trim()),
        ];
        let answer = person.submit(mesh, &link, &page, &fields);
        assert_eq!(answer.status, 303, "{}", answer.page);
        person
    }

    /// Opens a page.
    pub(crate) fn open(&self, mesh: &Mesh, url: &str) -> Answer {
        run(self.curl(mesh).arg(url))
    }

    /// Opens a page, and presses a button there.
    pub(crate) fn press(&self, mesh: &Mesh, url: &str, name: &str, value: &str) -> Answer {
        let opened = self.open(mesh, url);
        assert_eq!(opened.status, 200, "{}", opened.page);
        self.submit(mesh, url, &opened.page, &[(name, value)])
    }

    fn submit(&self, mesh: &Mesh, url: &str, page: &str, fields: &[(&str, &str)]) -> Answer {
        let mut curl = self.curl(mesh);
        curl = curl.args(["-H", &format!("origin: {}", self.origin)]);
        let hidden = hidden(page);
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

fn run(curl: HostCommand) -> Answer {
    let output = curl.succeed().expect("curl, of the package curl");
    let (page, status) = output.stdout.rsplit_once('\n').expect("a status");
    Answer {
        status: status.parse().expect("a number"),
        page: page.to_owned(),
    }
}

fn hidden(page: &str) -> BTreeMap<String, String> {
    let inputs = page.split("<input type=\"hidden\" name=\"").skip(1);
    let field = |input: &str| {
        let (name, rest) = input.split_once('"').expect("a name");
        let value = rest.strip_prefix(" value=\"").expect("a value");
        let (value, _) = value.split_once('"').expect("an end");
        (name.to_owned(), value.to_owned())
    };
    inputs.map(field).collect()
}
