"""Prints how many milliseconds pass from a person's answer to the first output of a shell.

check CONTROL COOKIES SSH...: the answer is the number, sent by a browser that is signed in.
type PASSWORD SSH...: the answer is a password, typed at a terminal.
none SSH...: nobody is asked; from the start of the command."""
import http.client, os, pty, re, ssl, subprocess, sys, time
from urllib.parse import urlencode, urlsplit

OUTPUT = b"a shell"

def cookies(file):
    """As curl keeps them (https://curl.se/docs/http-cookies.html)."""
    lines = [line.rstrip("\n").removeprefix("#HttpOnly_").split("\t") for line in open(file)]
    return "; ".join(f"{line[5]}={line[6]}" for line in lines if len(line) == 7)

def prompt(ssh):
    said = b""
    while not (found := re.search(rb"visit: (\S+)\s.*number: (\d+)\s", said, re.S)):
        more = os.read(ssh.stderr.fileno(), 4096)
        assert more, said
        said += more
    return found[1].decode(), found[2].decode()

def check(address, file, command):
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ssh:
        url, number = prompt(ssh)
        place = urlsplit(url)
        browser = http.client.HTTPSConnection(
            address, place.port, context=ssl._create_unverified_context())
        headers = {"host": place.netloc, "cookie": cookies(file)}
        browser.request("GET", place.path, headers=headers)
        page = browser.getresponse().read().decode()
        form = {"csrf": re.search(r'name="csrf" value="([^"]*)"', page)[1], "choice": number}
        headers |= {"origin": f"{place.scheme}://{place.netloc}",
                    "content-type": "application/x-www-form-urlencoded"}
        start = time.perf_counter()
        browser.request("POST", place.path, urlencode(form), headers)
        assert ssh.stdout.read(len(OUTPUT)) == OUTPUT
        took = time.perf_counter() - start
        assert b"Approved" in browser.getresponse().read()
    return took

def until(terminal, words):
    said = b""
    while words not in said:
        said += os.read(terminal, 4096)

def type_password(password, command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    until(terminal, b"assword:")
    start = time.perf_counter()
    os.write(terminal, password.encode() + b"\n")
    until(terminal, OUTPUT)
    took = time.perf_counter() - start
    os.waitpid(pid, 0)
    return took

def nobody(command):
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as ssh:
        assert ssh.stdout.read(len(OUTPUT)) == OUTPUT
        return time.perf_counter() - start

match sys.argv[1:]:
    case ["check", address, file, *command]:
        took = check(address, file, command)
    case ["type", password, *command]:
        took = type_password(password, command)
    case ["none", *command]:
        took = nobody(command)
print(took * 1e3)
