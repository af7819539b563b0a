//! A person's browser: it keeps cookies, follows nothing by itself, and sends forms back as the
//! page wrote them.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, header};

use super::client::{self, Answer, Broken};
use super::{Control, now};

/// Where the tests' control says that it is.
pub(crate) const ORIGIN: &str = "https://control.example.com";
/// What everybody takes for a password here.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A browser, and the page that it shows.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    /// The last page.
    pub(crate) page: String,
}

/// An app that makes codes.
#[derive(Clone)]
pub(crate) struct Authenticator {
    secret: Vec<u8>,
    used: u64,
}

impl Control {
    /// A server that tells people where it is.
    pub(crate) fn start_for_people(arguments: &[&str]) -> Self {
        Self::start_with(&[&["--url", ORIGIN], arguments].concat())
    }

    /// A link to an account, as `users invite` prints it; its path.
    pub(crate) fn invite(&self, arguments: &[&str]) -> String {
        let link = self.admin(&[&["users", "invite"], arguments].concat());
        let path = link.trim().strip_prefix(ORIGIN);
        path.expect("a link to this control").to_owned()
    }

    /// A person with an account, signed in.
    pub(crate) async fn person(&self, login: &str, role: &str) -> (Browser, Authenticator) {
        let path = self.invite(&[login, "--role", role]);
        Browser::new(self).set_up_account(&path).await
    }
}

impl Browser {
    pub(crate) fn new(control: &Control) -> Self {
        Self {
            address: control.address,
            cookies: BTreeMap::new(),
            page: String::new(),
        }
    }

    /// Finds control where it is after a restart.
    pub(crate) fn moved_to(&mut self, control: &Control) {
        self.address = control.address;
    }

    /// Uses a link to an account.
    pub(crate) async fn set_up_account(mut self, path: &str) -> (Self, Authenticator) {
        assert_eq!(self.open(path).await.status, 200);
        let mut authenticator = Authenticator::of(&self.page);
        let code = authenticator.code();
        let fields = [
            ("password", PASSWORD),
            ("repeated", PASSWORD),
            ("code", &code),
        ];
        let answer = self.submit(path, &fields).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        (self, authenticator)
    }

    /// Fetches a page.
    pub(crate) async fn open(&mut self, path: &str) -> Answer {
        let request = Request::get(path);
        self.send(request, String::new()).await
    }

    /// The same at a server that may be killed meanwhile.
    pub(crate) async fn attempt_open(&mut self, path: &str) -> Result<Answer, Broken> {
        self.attempt(Request::get(path), String::new()).await
    }

    /// Opens the page for signing in, and sends its form.
    pub(crate) async fn sign_in(&mut self, login: &str, password: &str, code: &str) -> Answer {
        assert_eq!(self.open("/sign-in?again=1").await.status, 200);
        let fields = [("login", login), ("password", password), ("code", code)];
        self.submit("/sign-in", &fields).await
    }

    /// Sends a form of the page that is shown, with its hidden fields.
    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = self.attempt_submit(path, fields).await;
        answer.expect("an answer")
    }

    /// The same at a server that may be killed meanwhile.
    pub(crate) async fn attempt_submit(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Answer, Broken> {
        let hidden = self.hidden();
        let all: Vec<(&str, &str)> = hidden
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| fields.iter().all(|(own, _)| own != name))
            .chain(fields.iter().copied())
            .collect();
        let (request, body) = form(path, &[("origin", ORIGIN)], &all);
        self.attempt(request, body).await
    }

    /// Sends these fields only, with these headers.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Answer {
        let (request, body) = form(path, headers, fields);
        self.send(request, body).await
    }

    async fn send(&mut self, request: hyper::http::request::Builder, body: String) -> Answer {
        self.attempt(request, body).await.expect("an answer")
    }

    async fn attempt(
        &mut self,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<Answer, Broken> {
        let cookies = self.cookies.iter();
        let cookies: Vec<String> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request
            .header(header::HOST, "control.example.com")
            .header(header::COOKIE, cookies.join("; "))
            .body(Full::new(Bytes::from(body)));
        let answer = client::attempt(self.address, request.expect("a request")).await?;
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            self.keep(cookie.to_str().expect("text"));
        }
        self.page = answer.text();
        Ok(answer)
    }

    fn keep(&mut self, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').expect("attributes");
        for attribute in ["Secure", "HttpOnly", "Path=/", "SameSite=Lax"] {
            assert!(attributes.contains(attribute), "{cookie}");
        }
        let (name, value) = pair.split_once('=').expect("a value");
        assert!(name.starts_with("__Host-"), "{cookie}");
        match attributes.contains("Max-Age=0;") {
            true => self.cookies.remove(name),
            false => self.cookies.insert(name.to_owned(), value.to_owned()),
        };
    }

    /// The hidden fields of the page; those of several forms of one page do not differ here.
    pub(crate) fn hidden(&self) -> BTreeMap<String, String> {
        let inputs = self.page.split("<input type=\"hidden\" name=\"").skip(1);
        let field = |input: &str| {
            let (name, rest) = input.split_once('"').expect("a name");
            let value = rest.strip_prefix(" value=\"").expect("a value");
            let (value, _) = value.split_once('"').expect("an end");
            (name.to_owned(), value.replace("&amp;", "&"))
        };
        inputs.map(field).collect()
    }
}

fn form(
    path: &str,
    headers: &[(&str, &str)],
    fields: &[(&str, &str)],
) -> (hyper::http::request::Builder, String) {
    let mut request =
        Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = serde_urlencoded::to_string(fields).expect("a form");
    (request, body)
}

impl Authenticator {
    /// From the letters on the page of a link.
    pub(crate) fn of(page: &str) -> Self {
        let (_, rest) = page.split_once("<code>").expect("letters");
        let (letters, _) = rest.split_once("</code>").expect("an end");
        let mut bits = String::new();
        for letter in letters.chars().filter(|c| *c != ' ') {
            let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter);
            bits += &format!("{:05b}", value.expect("base32"));
        }
        let bytes = bits.as_bytes().chunks(8).map(|byte| {
            let byte = std::str::from_utf8(byte).expect("ASCII");
            u8::from_str_radix(byte, 2).expect("bits")
        });
        Self {
            secret: bytes.collect(),
            used: 0,
        }
    }

    /// A code that was not used before: of this half minute or, once, of the next one.
    pub(crate) fn code(&mut self) -> String {
        self.used = (now() / 30).max(self.used + 1);
        assert!(self.used <= now() / 30 + 1, "too many codes in a minute");
        self.code_of(self.used)
    }

    /// The last code again.
    pub(crate) fn used_code(&self) -> String {
        self.code_of(self.used)
    }

    fn code_of(&self, step: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let at = usize::from(tag.as_ref()[19] & 15);
        let four: [u8; 4] = tag.as_ref()[at..at + 4].try_into().expect("four bytes");
        let number = u32::from_be_bytes(four) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }
}
